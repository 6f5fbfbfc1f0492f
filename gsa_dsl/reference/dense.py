"""What a spec means: the dense float64 evaluation that every kernel is held against.

Reads a checked spec and nothing later: it imports neither lowering nor codegen nor runtime. Rows (queries) are
independent of each other, so a long sequence is worked through in blocks of rows, which the backward computes again:
that bounds the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gsa_dsl.reference.evaluate import Scope, evaluate, pairwise_dot
from gsa_dsl.reference.logits import Pairs, logits
from gsa_dsl.reference.statistics import budget_values, ema_means
from gsa_dsl.reference.visible import forced_keys, visible_keys
from gsa_dsl.sema.typed import CheckedSpec, GateSpec, IndexerSpec

_BLOCK_ELEMENTS = 2**24  # of one [B, heads, rows, L] tensor: 128 MiB in float64


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """What :func:`reference` returns, for B sequences of length L, H query heads and values of width D.

    * ``output [B, H, L, D]``; ``lse [B, H, L]``: natural logsumexp of the scaled logits, -inf for a row without keys.
    * ``budget [B, L]`` int64, the k_t used (capped by the candidates), and ``budget_exact [B, L]``, the value before it
      was rounded down; None where nothing is chosen by score.
    * ``scores [B, L, L]``: detached, -inf for keys that the query does not see; None without an indexer.
    * ``visible [B, L, L]`` bool: the keys that a query sees; ``selected [B, L, L]`` bool: those it attends to.
    * ``indexer_loss``: 0-d, None unless the spec trains its indexer.
    * ``ema_inputs [n]``: this step's mean of each ``ema`` body; None without any.
    """

    output: Tensor
    lse: Tensor
    budget: Tensor | None
    budget_exact: Tensor | None
    scores: Tensor | None
    visible: Tensor
    selected: Tensor
    indexer_loss: Tensor | None
    ema_inputs: Tensor | None


def reference(
    spec: CheckedSpec,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    gates: Mapping[str, Tensor] | None = None,
    index: Mapping[str, Tensor] | None = None,
    ema: Tensor | None = None,
    phase: str = "sparse",
    selection: Tensor | None = None,
    extras: Mapping[str, Tensor] | None = None,
    documents: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> ReferenceResult:
    """Evaluate ``spec`` densely.

    ``query [B, H, L, D]``, ``key [B, Hkv, L, D]``, ``value [B, Hkv, L, Dv]``; ``gates[name]``: pre-activations and
    given tensors, like their target per element, ``[B, heads, L]`` per head, ``[B, L]`` shared; ``index``: q
    ``[B, J, L, dI]``, k ``[B, L, dI]``, w ``[B, J, L]``, b ``[J]``, as far as the spec uses them; ``ema [n]``: the
    state vector (the spec's initial values if None).

    ``phase="warmup"`` attends, and fits the indexer, to every key a query sees. ``selection``, a bool mask
    ``[B, L, L]``, replaces the indexer's choice. ``extras``: sink ``[H]`` and bias ``[H, places]``, as far as the spec
    has them. ``documents [B, L]``: integer ids, for a spec that says ``documents``; a run of equal ids is one document.
    ``dtype`` is what to compute in: float64 is the meaning, less shows the error of eager torch.

    The output is differentiable in query, key, value, gates and extras, and in ``index`` where the logit reads the
    score; the indexer's loss in ``index`` alone.
    Raises ValueError when inputs and spec do not match.
    """
    _check_inputs(spec, gates, index, extras, query.shape[1], phase, selection, documents)
    q, k, v = (x.to(dtype) for x in (query, key, value))
    batch, _, length, _ = q.shape
    index = {name: x.to(dtype) for name, x in (index or {}).items()}
    extras = {name: x.to(dtype) for name, x in (extras or {}).items()}
    state = ema if ema is not None else q.new_tensor([e.init for e in spec.emas])
    state = state.detach().to(dtype)
    visible = visible_keys(spec, batch, length, q.device, documents)

    with torch.no_grad():
        scores = all_scores(spec.indexer, index) if spec.indexer is not None else None
        budget = exact = None
        selected = visible
        if phase == "sparse":
            forced = forced_keys(spec, visible)
            if spec.selection is not None and scores is not None:
                exact = budget_values(spec.selection, scores, visible, state)
                selected, budget = choose(scores, exact, visible, forced)
            elif spec.forced.first or spec.forced.last:
                selected = forced
            if selection is not None:
                selected = selection & visible

    gated = {"query": q, "key": k, "value": v}
    for gate in spec.gates:
        if gate.target in gated:
            gated[gate.target] = gated[gate.target] * _gate(gate, gates, dtype)
    q, k, v = gated.values()
    output, lse, attention = _attend(spec, q, k, v, index, extras, selected)
    for gate in spec.gates:
        if gate.target == "output":
            output = output * _gate(gate, gates, dtype)

    loss = None
    if spec.train is not None and spec.indexer is not None:
        loss = _indexer_loss(spec, index, attention, selected)
    return ReferenceResult(
        output=output,
        lse=lse,
        budget=budget,
        budget_exact=exact,
        scores=None if scores is None else scores.masked_fill(~visible, -torch.inf),
        visible=visible,
        selected=selected,
        indexer_loss=loss,
        ema_inputs=ema_means(spec, scores, visible) if spec.emas and scores is not None else None,
    )


# --- scores, budget, selection ---------------------------------------------------------------------------------------


def score_rows(indexer: IndexerSpec, index: Mapping[str, Tensor], rows: slice) -> Tensor:
    """``score[t, s]`` for the queries t in ``rows`` and every s: ``[B, R, L]``; differentiable in ``index``."""
    q, k = index["q"][:, :, rows], index["k"]
    leaves = {}
    if "w" in index:
        leaves["w"] = index["w"][:, :, rows].unsqueeze(-1)
    if "b" in index:
        leaves["b"] = index["b"][None, :, None, None]
    value = evaluate(indexer.score, Scope(q, leaves=leaves, dot=pairwise_dot(q, k), heads=indexer.heads))
    return value.squeeze(1).expand(q.shape[0], q.shape[2], k.shape[1])


def all_scores(indexer: IndexerSpec, index: Mapping[str, Tensor]) -> Tensor:
    """Every ``score[t, s]``, also of keys that the query does not see: ``[B, L, L]``."""
    q = index["q"]
    return torch.cat([score_rows(indexer, index, rows) for rows in _row_blocks(q.shape[0] * q.shape[1], q.shape[2])], 1)


def choose(scores: Tensor, exact: Tensor, visible: Tensor, forced: Tensor) -> tuple[Tensor, Tensor]:
    """The selected keys, bool ``[B, L, L]``, and the number chosen by score, int64 ``[B, L]``.

    Candidates are visible, have a finite score and are not forced; of equal scores the smaller position goes first.
    """
    candidates = visible & ~forced & scores.isfinite()
    k = torch.minimum(exact.floor().long(), candidates.sum(-1))
    order = torch.where(candidates, scores, -torch.inf).sort(stable=True, dim=-1, descending=True).indices
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(-1, order, places)
    return forced | (candidates & (rank < k.unsqueeze(-1))), k


# --- attention and loss ----------------------------------------------------------------------------------------------


def _attend(
    spec: CheckedSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index: Mapping[str, Tensor],
    extras: Mapping[str, Tensor],
    selected: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output ``[B, H, L, D]``, lse ``[B, H, L]``, and the detached, head-averaged attention ``[B, L, L]``."""
    dimensions = {"head_dim": q.shape[-1], "heads": q.shape[1], "kv_heads": k.shape[1]}
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    learned = {**index, **extras}

    def rows_of(rows: slice, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(learned, tensors, strict=True))
        score = None
        if spec.soft and spec.indexer is not None:
            score = score_rows(spec.indexer, {name: given[name] for name in index}, rows)
            # A key whose score is not finite has no logit, and is not seen.
            mask = mask & score.isfinite()
        pairs = Pairs(q @ k.transpose(-1, -2), rows.start, score, given.get("bias"), dimensions)
        log_p, lse = _masked_log_softmax(logits(spec, pairs), mask.unsqueeze(1), given.get("sink"))
        p = log_p.exp()
        return p @ v, lse, p.detach().mean(1)

    parts = [
        checkpoint(
            rows_of,
            rows,
            q[:, :, rows],
            k,
            v,
            selected[:, rows],
            *learned.values(),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for rows in _row_blocks(q.shape[0] * q.shape[1], q.shape[2])
    ]
    output, lse, attention = zip(*parts, strict=True)
    return torch.cat(output, 2), torch.cat(lse, 2), torch.cat(attention, 1)


def _indexer_loss(spec: CheckedSpec, index: Mapping[str, Tensor], attention: Tensor, selected: Tensor) -> Tensor:
    """Mean over batch and t of ``KL(attention || softmax(score / temperature))`` on the selected keys; 0-d.

    A non-finite score (only a forced key, or any key in warm-up, can have one) counts as 0 and gets no gradient. With a
    sink the attention of the keys sums to a mass m < 1, and a query counts as ``m KL(attention / m || ...)``.
    """
    assert spec.indexer is not None
    assert spec.train is not None
    indexer, temperature = spec.indexer, spec.train.temperature

    def rows_of(p: Tensor, mask: Tensor, rows: slice, *tensors: Tensor) -> Tensor:
        scores = score_rows(indexer, dict(zip(index, tensors, strict=True)), rows)
        scores = torch.where(scores.isfinite(), scores, 0.0)
        log_i, _ = _masked_log_softmax(scores / temperature, mask)
        present = mask & (p > 0)
        log_p = torch.where(present, p, 1.0).log()
        divergence = torch.where(present, p * (log_p - torch.where(present, log_i, 0.0)), 0.0).sum()
        return divergence if spec.sink is None else divergence - torch.special.xlogy(p.sum(-1), p.sum(-1)).sum()

    batch, length = selected.shape[:2]
    parts = [
        checkpoint(
            rows_of,
            attention[:, rows],
            selected[:, rows],
            rows,
            *index.values(),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for rows in _row_blocks(batch * indexer.heads, length)
    ]
    return torch.stack(parts).sum() / (batch * length)


def _masked_log_softmax(x: Tensor, mask: Tensor, sink: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-softmax over the last axis within ``mask`` (-inf outside), and the logsumexp (-inf for an empty row).

    ``sink [H]``, for ``x [B, H, R, L]``, is one more logit of every row, which is in the sum and not in the result.
    """
    x = torch.where(mask, x, -torch.inf)
    every = x if sink is None else torch.cat((x, sink.view(1, -1, 1, 1).expand(*x.shape[:-1], 1)), -1)
    lse = every.logsumexp(-1, keepdim=True)
    return torch.where(mask & (x > -torch.inf), x - lse, -torch.inf), lse.squeeze(-1)


def _gate(gate: GateSpec, gates: Mapping[str, Tensor] | None, dtype: torch.dtype) -> Tensor:
    """The factor, in a shape that broadcasts against ``[B, heads, L, width]``."""
    leaves = {tensor.leaf: (gates or {})[tensor.name].to(dtype) for tensor in gate.tensors}
    value = evaluate(gate.body, Scope(next(iter(leaves.values())), leaves=leaves))
    if gate.granularity == "shared":
        value = value.unsqueeze(1)
    return value if gate.granularity == "element" else value.unsqueeze(-1)


def _row_blocks(heads: int, length: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // (heads * length))
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _check_inputs(
    spec: CheckedSpec,
    gates: Mapping[str, Tensor] | None,
    index: Mapping[str, Tensor] | None,
    extras: Mapping[str, Tensor] | None,
    heads: int,
    phase: str,
    selection: Tensor | None,
    documents: Tensor | None,
) -> None:
    if phase not in ("sparse", "warmup"):
        raise ValueError(f"phase is 'sparse' or 'warmup', not {phase!r}")
    if phase == "warmup" and spec.indexer is None:
        raise ValueError(f"'{spec.name}' has no indexer to warm up")
    if phase == "warmup" and selection is not None:
        raise ValueError("warm-up attends to every visible key: it takes no selection")
    if spec.documents and documents is None:
        raise ValueError(f"'{spec.name}' says 'documents': it needs their ids, [B, L]")
    if documents is not None and not spec.documents:
        raise ValueError(f"'{spec.name}' does not say 'documents': it takes no ids of documents")
    wanted_gates = {tensor.name for gate in spec.gates for tensor in gate.tensors}
    if set(gates or {}) != wanted_gates:
        raise ValueError(f"gates must be {sorted(wanted_gates)}, not {sorted(gates or {})}")
    wanted_index = set(spec.indexer.tensors) if spec.indexer is not None else set()
    if set(index or {}) != wanted_index:
        raise ValueError(f"index must hold {sorted(wanted_index)}, not {sorted(index or {})}")
    shapes = {name: tuple(x.shape) for name, x in (extras or {}).items()}
    if shapes != spec.extras(heads):
        raise ValueError(f"extras must have the shapes {spec.extras(heads)}, not {shapes}")
