"""Mutants that verification does not catch, and why.

``EQUIVALENT`` ones compute the same, or differ in what nobody sees. ``MISSED`` ones are faults that the default cases do
not bring out; they count against the kill rate.
"""
# ruff: noqa: E501 - a name is a line, as wide as what it changes

from __future__ import annotations

_UNSEEN = "every reader of that place has the mask again: what is beyond it never counts"
_WALK = "the walk has more blocks, and every block masks what a query does not see"
_BRACKET = "any bracket will do: one that misses is told by its counts, and the whole row is looked through"
_TARGET = "the attention that the loss is taken to is computed without gradients anyway"
_LINE = "run(divergence, q.detach(), k.detach(), v.detach(), sees, "

EQUIVALENT: dict[str, str] = {
    "templates/macros/common.jinja: forced keys compete": "the last keys are chosen in any case, and come after all "
    "that could tie with them; the budget is counted elsewhere",
    "templates/kernels/score.py.jinja: whole blocks are taken for seen too early": _UNSEEN,
    "templates/eager.py.jinja: the indexer's loss reaches the query": _TARGET,
    f'templates/eager.py.jinja: leak a gradient (3): {_LINE}{{{{ "t, " if plan.logit or grain.pool }}}}{{% for name in extras %}}'
    "{{ name }}.detach(), {% endfor %}*tensors)": _TARGET,
    "templates/eager.py.jinja: 0.0 to 1.0: w = torch.where(live[:, None], w, 0.0)": "where no gradient passes, any "
    "number will do that is finite",
    'templates/kernels/attend.py.jinja: - to +: sinks = tl.cdiv(tl.minimum({{ "begin + " if plan.documents }}FIRST, '
    'end), BLOCK){{ " - lead" if plan.documents }}': _WALK,
    'templates/kernels/score.py.jinja: < to <=: k = tl.load(ik_ptr + k_off, mask={{ index_mask("(s < " ~ limit ~ '
    '")[None, :]", "d[:, None]") }}, other=0.0)': _UNSEEN,
    'templates/kernels/attend.py.jinja: one key more: far = {{ "end" if plan.causal else "tl.minimum(last + LAST, end)" '
    "}}": _WALK,
    "templates/kernels/select.py.jinja: drop + 1: step = (top - bottom) // 256 + 1": _BRACKET,
    "templates/host/select.py.jinja: < to <=: listed = torch.arange(width, device=lists.pos.device) < "
    "lists.count[:, :, None]": "the entry after a list's last belongs to no query: its word is 0",
}

MISSED: dict[str, str] = {
    "templates/kernels/settle.py.jinja: an amended choice keeps its old marks": "it takes a guess with more keys above it "
    "than the budget, which tests/runtime/test_survey.py brings about and the default cases do not",
    "templates/kernels/settle.py.jinja: moments are taken about 0": "in rows short enough to interpret the sample is the "
    "whole row, whose mean leaves no difference; tests/runtime/test_survey.py takes thinner samples",
    "templates/kernels/select.py.jinja: the bracket loses what is above it": "it takes a rank at the very edge of the "
    "sampled bracket, which has an upper edge only in rows of hundreds of keys: too long to interpret",
}
