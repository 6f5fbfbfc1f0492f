"""Mutants that verification cannot tell from the compiler, and why: they compute the same, or what nobody sees."""

from __future__ import annotations

_UNSEEN = "every reader of that place has the mask again: what is beyond it never counts"
_WALK = "the walk has more blocks, and every block masks what a query does not see"
_TARGET = "the attention that the loss is taken to is computed without gradients anyway"
_LINE = "run(divergence, q.detach(), k.detach(), v.detach(), sees, "

EQUIVALENT: dict[str, str] = {
    "templates/macros/common.jinja: forced keys compete": "the last keys are chosen in any case, and come after all "
    "that could tie with them; the budget is counted elsewhere",
    "templates/kernels/score.py.jinja: whole blocks are taken for seen too early": _UNSEEN,
    "templates/eager.py.jinja: the indexer's loss reaches the query": _TARGET,
    f'templates/eager.py.jinja: leak a gradient (3): {_LINE}{{{{ "t, " if plan.logit }}}}{{% for name in extras %}}'
    "{{ name }}.detach(), {% endfor %}*tensors)": _TARGET,
    "templates/eager.py.jinja: 0.0 to 1.0: w = torch.where(live[:, None], w, 0.0)": "where no gradient passes, any "
    "number will do that is finite",
    'templates/kernels/attend.py.jinja: - to +: sinks = tl.cdiv(tl.minimum({{ "begin + " if plan.documents }}FIRST, '
    'end), BLOCK){{ " - lead" if plan.documents }}': _WALK,
    'templates/kernels/score.py.jinja: < to <=: k = tl.load(ik_ptr + k_off, mask={{ index_mask("(s < length)'
    '[None, :]", "d[:, None]") }}, other=0.0)': _UNSEEN,
}
