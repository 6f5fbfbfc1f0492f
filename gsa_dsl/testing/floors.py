"""How large the terms are that cancel in a result: where they do, the result itself says nothing of their rounding."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gsa_dsl.reference.dense import gate_factor
from gsa_dsl.reference.logits import Pairs, logits
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.inputs import Inputs
from gsa_dsl.testing.report import Case

LOSS_WEIGHT = 1.7  # the cotangent of the indexer's loss


class Floors:
    """The size of the terms that cancel in each quantity: softmax gradients and the divergence are differences."""

    def __init__(self, spec: CheckedSpec, case: Case, inputs: Inputs, cotangent: Tensor) -> None:
        self.spec, self.case, self.inputs, self.cotangent = spec, case, inputs, cotangent

    def of(self, label: str) -> float:
        """Of a quantity, or of a gradient, "d NAME"."""
        if label == "indexer_loss":
            return 1.0
        if label in ("d query", "d key"):
            own, other = ("query", "key") if label == "d query" else ("key", "query")
            enlarged = self._size(own, _rms) / max(_rms(self._operand(own)), 1e-30)
            return self._weight_gradient() * self._slope() * self._size(other, _largest) * max(enlarged, 1.0)
        if label.startswith("d index."):
            choosing = self.case.kv_heads if self.spec.selection is not None and self.spec.selection.per_kv_head else 1
            rows = 1 if label == "d index.b" else self.case.batch * self.case.length * choosing
            loss = LOSS_WEIGHT / rows if self.spec.train is not None else 0.0
            return loss + (self._weight_gradient() if self.spec.soft else 0.0)
        if label.startswith("d extras."):
            return self._weight_gradient()
        for gate in self.spec.gates:
            if gate.target in ("query", "key") and label in {f"d gates.{tensor.name}" for tensor in gate.tensors}:
                gated = self.inputs.query if gate.target == "query" else self.inputs.key
                added = 1 if gate.granularity == "element" else self.case.heads * self.case.head_dim
                return self.of(f"d {gate.target}") * _rms(gated) * math.sqrt(added)
        return 0.0

    def _weight_gradient(self) -> float:
        """The size of the products of a value and the output's gradient, whose mean a logit's gradient subtracts."""
        return self._size("output", _rms) * self._size("value", _rms) * math.sqrt(self.inputs.value.shape[-1])

    def _operand(self, target: str) -> Tensor:
        """What a gate's target is, or for the output the gradient that comes back to it."""
        x = self.inputs
        return {"query": x.query, "key": x.key, "value": x.value, "output": self.cotangent}[target]

    def _size(self, target: str, size: Callable[[Tensor], float]) -> float:
        """The size of a target; gates may enlarge it."""
        x = self._operand(target).detach().double()
        gated = x
        for gate in self.spec.gates:
            if gate.target == target:
                gated = gated * gate_factor(gate, self.inputs.gates, torch.float64, slice(0, x.shape[2]))
        return max(size(x), size(gated))

    def _slope(self) -> float:
        """The largest derivative of a logit by its dot product, at dot products of 0 and of the usual sizes."""
        x, case = self.inputs, self.case
        usual = self._size("query", _rms) * self._size("key", _rms) * math.sqrt(case.head_dim)
        sizes = torch.tensor([0.0, usual, -usual, 4 * usual, -4 * usual], dtype=torch.float64, device=x.query.device)
        dot = sizes.expand(1, case.heads, 1, -1).clone().requires_grad_()
        bias = x.extras["bias"].detach().double() if x.extras and "bias" in x.extras else None
        score = torch.ones_like(dot) if self.spec.soft else None
        dimensions = {"head_dim": case.head_dim, "heads": case.heads, "kv_heads": case.kv_heads}
        found = logits(self.spec, Pairs(dot, len(sizes), score, bias, dimensions))
        if not found.requires_grad:  # it does not read the product
            return 0.0
        (slope,) = torch.autograd.grad(found.sum(), dot)
        return torch.where(slope.isfinite(), slope.abs(), 0.0).amax().item()


def _largest(x: Tensor) -> float:
    """The root mean square of the largest vector: of terms that cancel, one hot key's are the largest."""
    return x.detach().double().square().mean(-1).amax().sqrt().item()


def _rms(x: Tensor) -> float:
    return x.detach().double().square().mean().sqrt().item()
