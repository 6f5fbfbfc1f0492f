"""What a spec means: the dense float64 evaluation that every kernel is held against.

Reads a checked spec and nothing later: it imports neither lowering nor codegen nor runtime. Rows (queries) are
independent of each other, so a long sequence is worked through in blocks of rows, which the backward computes again:
that bounds the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gsa_dsl.reference.evaluate import Scope, evaluate
from gsa_dsl.reference.logits import Pairs, logits
from gsa_dsl.reference.scores import prepared, row_blocks, score_rows, unit_scores
from gsa_dsl.reference.selection import select
from gsa_dsl.reference.statistics import ema_means
from gsa_dsl.reference.units import at_tokens, seen_units
from gsa_dsl.reference.visible import forced_units, reach, visible_keys
from gsa_dsl.sema.typed import CheckedSpec, GateSpec

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """What :func:`reference` returns, for B sequences of length L, H query heads and values of width D.

    Units are the C blocks of the sequence where blocks are selected, else its L tokens. Where every kv head chooses for
    itself, all that is said of a choice has an axis of kv heads after the batch: ``[B, Hkv, L, C]``.

    * ``output [B, H, L, D]``; ``lse [B, H, L]``: natural logsumexp of the scaled logits, -inf for a row without keys.
    * ``budget [B, L]`` int64, the k_t used (capped by the candidates), and ``budget_exact [B, L]``, the value before it
      was rounded down; None where nothing is chosen by score.
    * ``scores [B, L, C]``: detached, -inf for units that the query does not see, or that have no score. Queries that
      share a choice have the scores of the first of them. None without an indexer.
    * ``visible [B, L, C]`` bool: the units that a query sees; ``selected [B, L, C]`` bool: those it attends to, in them
      to the tokens that it sees.
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
    rows: slice | None = None,
) -> ReferenceResult:
    """Evaluate ``spec`` densely.

    ``query [B, H, L, D]``, ``key [B, Hkv, L, D]``, ``value [B, Hkv, L, Dv]``; ``gates[name]``: pre-activations and
    given tensors, like their target per element, ``[B, heads, L]`` per head, ``[B, L]`` shared; ``index``: q
    ``[B, J, L, dI]``, k ``[B, L, dI]``, w ``[B, J, L]``, b ``[J]``, as far as the spec uses them, where every kv head
    chooses q and w (and k, if it has keys of its own) with an axis of kv heads after the batch, and none of them with
    ``keys attention``; ``ema [n]``: the state vector (the spec's initial values if None).

    ``phase="warmup"`` attends, and fits the indexer, to every key a query sees. ``selection``, a bool mask of units
    as in the result, replaces the indexer's choice. ``extras``: sink ``[H]`` and bias ``[H, places]``, as the spec has
    them. ``documents [B, L]``: integer ids, for a spec that says ``documents``; a run of equal ids is one document.
    ``dtype`` is what to compute in: float64 is the meaning, less shows the error of eager torch.

    ``rows`` are the queries to evaluate, all by default; the first begins a run that shares a choice. The result speaks
    of these alone, and under ``causal`` of no units beyond them; ``selection`` too. ``indexer_loss`` is then their part
    of the sum, ``ema_inputs`` their mean.

    The output is differentiable in query, key, value, gates and extras, and in ``index`` where the logit reads the
    score; the indexer's loss in ``index`` alone.
    Raises ValueError when inputs and spec do not match.
    """
    _check_inputs(spec, gates, index, extras, query.shape[1], phase, selection, documents)
    batch, _, length, _ = query.shape
    rows = rows or slice(0, length)
    keys = reach(spec, length, rows)
    q, k, v = query.to(dtype), key[:, :, :keys].to(dtype), value[:, :, :keys].to(dtype)
    index = {name: x.to(dtype) for name, x in (index or {}).items()}
    extras = {name: x.to(dtype) for name, x in (extras or {}).items()}
    state = ema if ema is not None else q.new_tensor([e.init for e in spec.emas])
    state = state.detach().to(dtype)
    tokens = visible_keys(spec, batch, length, q.device, documents, rows)
    if "k" in index:
        index["k"] = index["k"][..., :keys, :]
    parts = prepared(spec, q, k, index)
    per_kv_head = spec.selection is not None and spec.selection.per_kv_head
    block = spec.selection.block if spec.selection is not None else 1

    with torch.no_grad():
        choosing = k.shape[1] if per_kv_head else 1
        visible = seen_units(tokens, block).repeat_interleave(choosing, 0)
        scores = unit_scores(spec, parts, tokens, rows) if parts else None
        choice = None
        selected = visible
        if phase == "sparse" and scores is not None:
            choice = select(spec, scores, visible, state, rows.start)
            selected = choice.selected
        elif phase == "sparse" and spec.forced.span is not None:
            selected = forced_units(spec, visible, rows.start)
        if selection is not None:
            selected = visible & (selection.flatten(0, 1) if per_kv_head else selection)

    gated = {"query": q, "key": k, "value": v}
    for gate in spec.gates:
        if gate.target in gated:
            x = gated[gate.target]
            gated[gate.target] = x * gate_factor(gate, gates, dtype, slice(0, x.shape[2]))
    q, k, v = gated.values()
    output, lse, attention = _attend(spec, q, k, v, parts, extras, selected, tokens, rows)
    for gate in spec.gates:
        if gate.target == "output":
            output = output * gate_factor(gate, gates, dtype, rows)

    loss = None
    if spec.train is not None and parts:
        loss = _indexer_loss(spec, parts, attention, selected, tokens, rows)

    def per_head(x: Tensor) -> Tensor:
        return x.reshape(batch, -1, *x.shape[1:]) if per_kv_head else x

    return ReferenceResult(
        output=output,
        lse=lse,
        budget=None if choice is None else per_head(choice.budget),
        budget_exact=None if choice is None else per_head(choice.exact),
        scores=None if scores is None else per_head(_shared_scores(spec, scores, visible)),
        visible=per_head(visible),
        selected=per_head(selected),
        indexer_loss=loss,
        ema_inputs=ema_means(spec, scores, visible) if spec.emas and scores is not None else None,
    )


def _shared_scores(spec: CheckedSpec, scores: Tensor, visible: Tensor) -> Tensor:
    """Every query's ``scores [N, L, C]`` to choose by: of the first query of its run, -inf for what that cannot see."""
    run = spec.selection.queries if spec.selection is not None else 1
    seen = scores.masked_fill(~visible, -torch.inf)
    return seen[:, ::run].repeat_interleave(run, 1)[:, : scores.shape[1]]


# --- attention and loss ----------------------------------------------------------------------------------------------


def _attend(
    spec: CheckedSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    parts: Mapping[str, Tensor],
    extras: Mapping[str, Tensor],
    selected: Tensor,
    tokens: Tensor,
    rows: slice,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the queries in ``rows``: output ``[B, H, R, D]``, lse ``[B, H, R]``, and the detached attention, averaged over
    the heads that share a choice, ``[N, R, keys]``. ``selected`` and ``tokens`` are of these queries.
    """
    batch, heads = q.shape[:2]
    dimensions = {"head_dim": q.shape[-1], "heads": q.shape[1], "kv_heads": k.shape[1]}
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    learned = {**parts, **extras}
    sharing = heads * batch // selected.shape[0]

    def of_heads(x: Tensor) -> Tensor:
        """``[N, R, L]`` for every query head, or for all: ``[B, H or 1, R, L]``."""
        each = x.reshape(batch, -1, *x.shape[1:])
        return each.repeat_interleave(sharing if sharing < heads else 1, 1)

    def attend(block: slice, q: Tensor, k: Tensor, v: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(learned, tensors, strict=True))
        mask, score = of_heads(_attended(spec, selected, tokens, _within(block, rows))), None
        if spec.soft:
            score = of_heads(score_rows(spec, {name: given[name] for name in parts}, block, tokens.shape[-1]))
            # A key whose score is not finite has no logit, and is not seen.
            mask = mask & score.isfinite()
        pairs = Pairs(q @ k.transpose(-1, -2), block.start, score, given.get("bias"), dimensions)
        log_p, lse = _masked_log_softmax(logits(spec, pairs), mask, given.get("sink"))
        p = log_p.exp()
        return p @ v, lse, p.detach().reshape(-1, sharing, *p.shape[2:]).mean(1)

    blocks = [*row_blocks(q.shape[0] * q.shape[1], q.shape[2], rows)]
    results = _recomputing(attend, [(block, q[:, :, block], k, v, *learned.values()) for block in blocks])
    output, lse, attention = zip(*results, strict=True)
    return torch.cat(output, 2), torch.cat(lse, 2), torch.cat(attention, 1)


def _recomputing(body: Callable[..., Result], calls: Sequence[tuple[Any, ...]]) -> list[Result]:
    """``body`` of each of ``calls``; where there are several, a backward pass computes what is in between again."""
    if len(calls) == 1:
        # Not for its own sake: the first call of checkpoint imports torch's compiler, which takes seconds.
        return [body(*calls[0])]
    return [checkpoint(body, *call, use_reentrant=False, preserve_rng_state=False) for call in calls]


def _within(block: slice, rows: slice) -> slice:
    """Where the queries in ``block`` are among those in ``rows``."""
    return slice(block.start - rows.start, block.stop - rows.start)


def _attended(spec: CheckedSpec, selected: Tensor, tokens: Tensor, rows: slice) -> Tensor:
    """The tokens that the queries in ``rows`` attend to, bool ``[N, R, L]``: of the selected units, those they see."""
    block = spec.selection.block if spec.selection is not None else 1
    seen = tokens[:, rows].repeat_interleave(selected.shape[0] // tokens.shape[0], 0)
    return at_tokens(selected[:, rows], block, tokens.shape[-1]) & seen


def _indexer_loss(
    spec: CheckedSpec, parts: Mapping[str, Tensor], attention: Tensor, selected: Tensor, tokens: Tensor, rows: slice
) -> Tensor:
    """Mean over all choices of ``KL(attention || softmax(score / temperature))`` on the selected keys; 0-d.

    Those of the queries in ``rows`` are summed, which ``attention``, ``selected`` and ``tokens`` are of.

    A choice is one of a query (and kv head), also where queries share it: each is held against its own attention.
    A non-finite score (only a forced key, or any key in warm-up, can have one) counts as 0 and gets no gradient. With a
    sink the attention of the keys sums to a mass m < 1, and a query counts as ``m KL(attention / m || ...)``.
    """
    assert spec.train is not None
    temperature = spec.train.temperature

    def divergence(block: slice, p: Tensor, *tensors: Tensor) -> Tensor:
        mask = _attended(spec, selected, tokens, _within(block, rows))
        scores = score_rows(spec, dict(zip(parts, tensors, strict=True)), block, tokens.shape[-1])
        scores = torch.where(scores.isfinite(), scores, 0.0)
        log_i, _ = _masked_log_softmax(scores / temperature, mask)
        present = mask & (p > 0)
        log_p = torch.where(present, p, 1.0).log()
        total = torch.where(present, p * (log_p - torch.where(present, log_i, 0.0)), 0.0).sum()
        return total if spec.sink is None else total - torch.special.xlogy(p.sum(-1), p.sum(-1)).sum()

    choices, length = selected.shape[0], parts["q"].shape[2]
    blocks = [*row_blocks(choices * parts["q"].shape[1], length, rows)]
    results = _recomputing(
        divergence, [(block, attention[:, _within(block, rows)], *parts.values()) for block in blocks]
    )
    return torch.stack(results).sum() / (choices * length)


def _masked_log_softmax(x: Tensor, mask: Tensor, sink: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-softmax over the last axis within ``mask`` (-inf outside), and the logsumexp (-inf for an empty row).

    ``sink [H]``, for ``x [B, H, R, L]``, is one more logit of every row, which is in the sum and not in the result.
    """
    x = torch.where(mask, x, -torch.inf)
    every = x if sink is None else torch.cat((x, sink.view(1, -1, 1, 1).expand(*x.shape[:-1], 1)), -1)
    lse = every.logsumexp(-1, keepdim=True)
    return torch.where(mask & (x > -torch.inf), x - lse, -torch.inf), lse.squeeze(-1)


def gate_factor(gate: GateSpec, gates: Mapping[str, Tensor] | None, dtype: torch.dtype, rows: slice) -> Tensor:
    """The factor at the positions ``rows``, in a shape that broadcasts against ``[B, heads, R, width]``."""
    places = (..., rows, slice(None)) if gate.granularity == "element" else (..., rows)
    leaves = {tensor.leaf: (gates or {})[tensor.name][places].to(dtype) for tensor in gate.tensors}
    value = evaluate(gate.body, Scope(next(iter(leaves.values())), leaves=leaves))
    if gate.granularity == "shared":
        value = value.unsqueeze(1)
    return value if gate.granularity == "element" else value.unsqueeze(-1)


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
    own = spec.indexer is not None and spec.indexer.keys != "attention"
    wanted_index = set(spec.indexer.tensors) if spec.indexer is not None and own else set()
    if set(index or {}) != wanted_index:
        raise ValueError(f"index must hold {sorted(wanted_index)}, not {sorted(index or {})}")
    shapes = {name: tuple(x.shape) for name, x in (extras or {}).items()}
    if shapes != spec.extras(heads):
        raise ValueError(f"extras must have the shapes {spec.extras(heads)}, not {shapes}")
