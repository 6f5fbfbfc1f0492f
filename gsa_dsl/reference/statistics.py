"""Row statistics of scores, each by its definition, and the budgets that read them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gsa_dsl.reference.evaluate import Scope, evaluate
from gsa_dsl.sema.typed import CheckedSpec, SelectionSpec, Statistic

Share = Callable[[float], "Tensor | float"]


def row_statistic(node: Statistic, scores: Tensor, visible: Tensor, share: Share = float) -> Tensor:
    """``node`` of each row's finite scores among the ``visible`` units, ``[N, L]``; 0 for a row without any.

    ``share`` says what ``top_p`` looks for in place of its constant, a number or ``[N, L]``.
    """
    valid = visible & scores.isfinite()
    count = valid.sum(-1).to(scores.dtype)
    clean = torch.where(valid, scores, 0.0)
    mean = clean.sum(-1) / count.clamp(min=1)
    match node.op:
        case "count":
            return count
        case "mean":
            return mean
        case "var":
            deviation = torch.where(valid, clean - mean.unsqueeze(-1), 0.0)
            return (deviation * deviation).sum(-1) / count.clamp(min=1)
        case "max":
            return torch.where(count > 0, torch.where(valid, scores, -torch.inf).amax(-1), 0.0)
        case "min":
            return torch.where(count > 0, torch.where(valid, scores, torch.inf).amin(-1), 0.0)
        case "entropy":
            p = _softmax(scores, valid)
            return -torch.where(p > 0, p * torch.where(p > 0, p, 1.0).log(), 0.0).sum(-1)
        case "above" if node.level is not None:
            return (valid & (scores > node.level)).sum(-1).to(scores.dtype)
        case "top_p" if node.level is not None:
            wanted = torch.as_tensor(share(node.level), dtype=scores.dtype, device=scores.device)
            held = _softmax(scores, valid).sort(-1, descending=True).values.cumsum(-1)
            fewest = (held < (wanted * held[..., -1]).unsqueeze(-1)).sum(-1) + 1
            return torch.where(wanted < 1, torch.minimum(fewest.to(scores.dtype), count), count)
    raise KeyError(node.op)


def _softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """The softmax of each row over its valid scores; all 0 without any."""
    p = torch.where(valid, scores, -torch.inf).softmax(-1)
    return torch.where(valid, p, 0.0)


def budget_values(
    selection: SelectionSpec, scores: Tensor, visible: Tensor, state: Tensor, share: Share = float
) -> Tensor:
    """The budget of every row before rounding, ``[N, L]``; NaN (0 / 0) counts as the largest budget."""
    scope = Scope(scores, statistics=lambda node: row_statistic(node, scores, visible, share), ema=state)
    value = evaluate(selection.budget, scope).expand(scores.shape[:-1])
    return torch.where(value.isnan(), float(selection.most), value)


def ema_means(spec: CheckedSpec, scores: Tensor, visible: Tensor) -> Tensor:
    """The mean over all rows of the body of each ``ema``, ``[n]``: what the state vector moves towards.

    Kv heads that choose for themselves have rows of their own; queries that share a choice are one row, their first.
    """
    run = spec.selection.queries if spec.selection is not None else 1
    scores, visible = scores[..., ::run, :], visible[..., ::run, :]
    scope = Scope(scores, statistics=lambda node: row_statistic(node, scores, visible))
    return torch.stack([evaluate(e.body, scope).expand(scores.shape[:-1]).mean() for e in spec.emas])
