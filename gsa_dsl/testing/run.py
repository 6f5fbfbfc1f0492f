"""One case of a verification: its inputs, a call of the compiled attention, and every quantity beside the reference's.

The reference is evaluated some queries at a time (:mod:`gsa_dsl.testing.chunks`), whose gradients add up: a case may be
as long as the kernels' own memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.reference.visible import visible_keys
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.bounds import CheckedAddresses
from gsa_dsl.testing.chunks import chunks
from gsa_dsl.testing.compare import SelectionReport, compare_selection
from gsa_dsl.testing.floors import LOSS_WEIGHT, Floors
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.poison import PoisonedMemory
from gsa_dsl.testing.report import Case, Row
from gsa_dsl.testing.scored import Scored
from gsa_dsl.testing.tolerance import deviation

Choice = Callable[[slice], Tensor | None]
"""The units that some queries attend to, as :class:`ReferenceResult` has them; None where the spec chooses none."""


class Compiled(Protocol):
    """What a compiled attention offers, as far as it is used here."""

    @property
    def spec(self) -> CheckedSpec: ...

    @property
    def backend(self) -> str: ...

    @property
    def recipe(self) -> Mapping[str, Any]: ...

    def __call__(
        self,
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
        return_aux: bool = False,
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Result:
    """The quantities of one evaluation by name, gradients included."""

    quantities: dict[str, Tensor]
    gradients: dict[str, Tensor]


class Run:
    """One case: its inputs, and the comparisons made of them."""

    def __init__(self, compiled: Compiled, case: Case, dtype: torch.dtype, device: torch.device, seed: int) -> None:
        self.compiled, self.spec, self.case, self.dtype = compiled, compiled.spec, case, dtype
        inputs = make_inputs(
            self.spec,
            batch=case.batch,
            length=case.length,
            heads=case.heads,
            kv_heads=case.kv_heads,
            head_dim=case.head_dim,
            value_dim=case.value_dim,
            dtype=dtype,
            device=device,
            seed=seed,
            pattern=case.pattern,
        )
        self.inputs = (inputs.strided() if case.strided else inputs).requires_grad_()
        generator = torch.Generator().manual_seed(seed + 1)
        shape = (case.batch, case.heads, case.length, case.value_dim)
        self.cotangent = torch.randn(shape, generator=generator).to(device=device, dtype=dtype)
        self.chunks = chunks(self.spec, case.batch, case.kv_heads, case.length)
        self.floors = Floors(self.spec, case, self.inputs, self.cotangent)
        self.largest_score = 0.0

    def own_selection(self) -> list[Row]:
        """The kernel as it is used: its choice held against the reference's, then everything else at its choice."""
        output, aux = self._call()
        self.trained = output.detach()
        rows = [self._selection_row(aux)] if self._chooses else []
        chosen = aux.selection if self._chooses else None
        return rows + self._compare(output, aux, lambda rows: None if chosen is None else self._mask(chosen, rows), "")

    def given_selection(self) -> list[Row]:
        """The kernel at the reference's choice, handed in; not where that mask would be compared in several runs."""
        if not self._chooses or len(self.chunks) > 1:
            return []
        with torch.no_grad():
            mask = self._reference(self.inputs, torch.float64, self.chunks[0]).selected
        output, aux = self._call(selection=mask)
        return self._compare(output, aux, lambda _: mask, " (given)")

    def inference(self) -> Row:
        """Without gradients the kernels may take another way; the output is that of :meth:`own_selection`."""
        x = self.inputs
        with torch.no_grad(), PoisonedMemory(), CheckedAddresses():
            output = self.compiled(x.query, x.key, x.value, **x.keywords(), phase=self.case.phase)
        off = deviation(output, self.trained.double(), self.trained, self.dtype)
        return Row(self.case, "output (inference)", off.error, off.allowed, off.ok)

    @property
    def _chooses(self) -> bool:
        return self.spec.selection is not None and self.case.phase == "sparse"

    def _call(self, **options: Any) -> tuple[Tensor, Any]:
        self.inputs.zero_grad()
        x = self.inputs
        with PoisonedMemory(), CheckedAddresses():
            output, aux = self.compiled(
                x.query, x.key, x.value, **x.keywords(), phase=self.case.phase, return_aux=True, **options
            )
        return output, aux

    def _reference(
        self, inputs: Inputs, dtype: torch.dtype, rows: slice, selection: Tensor | None = None
    ) -> ReferenceResult:
        return reference(
            self.spec,
            inputs.query,
            inputs.key,
            inputs.value,
            **inputs.keywords(),
            phase=self.case.phase,
            selection=selection,
            dtype=dtype,
            rows=rows,
        )

    def _mask(self, selection: Any, rows: slice) -> Tensor:
        """The choice of ``rows``, and of the units that these could see."""
        keys = rows.stop if self.spec.causal else self.case.length
        block = self.spec.selection.block if self.spec.selection is not None else 1
        mask: Tensor = selection.mask(rows)
        return mask[..., : -(-keys // block)]

    def _selection_row(self, aux: Any) -> Row:
        if aux.selection is None:
            return Row(self.case, "selection", float("inf"), 0.0, False, "no selection was returned")
        with torch.no_grad():
            scored = Scored(self.spec, self.inputs, self.dtype)
            reports = [self._selection_of(aux, scored, rows) for rows in self.chunks]
        self.largest_score = scored.largest
        found = reports[0]
        for report in reports[1:]:
            found = found + report
        note = "; ".join(found.problems) or f"{found.differing} of {found.selected} keys differ"
        return Row(self.case, "selection", max(found.gap, 0.0), found.allowed, found.ok, note)

    def _selection_of(self, aux: Any, scored: Scored, rows: slice) -> SelectionReport:
        x = self.inputs
        free = self._reference(x, torch.float64, rows)
        batch, _, length, _ = x.query.shape
        tokens = visible_keys(self.spec, batch, length, x.query.device, x.documents, rows)
        state = x.ema if x.ema is not None else torch.zeros(0, device=x.query.device)
        budget = None if aux.budget is None else aux.budget[..., rows]
        error, alike = scored.row_errors(tokens, rows), scored.alike(tokens)
        mask = self._mask(aux.selection, rows)
        return compare_selection(self.spec, mask, budget, free, state.double(), error, alike, rows.start)

    def _compare(self, output: Tensor, aux: Any, choice: Choice, suffix: str) -> list[Row]:
        """Rows for every quantity of a call, with the reference and eager torch at the ``choice``."""
        with PoisonedMemory(), CheckedAddresses():
            actual = self._backward(output, aux, not suffix)
        expected, eager = (self._evaluate(dtype, choice, not suffix) for dtype in (torch.float64, self.dtype))
        lse = expected.quantities["lse"]
        logits = torch.where(lse.isfinite(), lse.abs(), 0.0).amax().item()
        rows = []
        for group in ("quantities", "gradients"):
            found, exact, other = (getattr(result, group) for result in (actual, expected, eager))
            for name, value in exact.items():
                label = f"d {name}" if group == "gradients" else name
                if name not in found:
                    rows.append(Row(self.case, label + suffix, float("inf"), 0.0, False, "missing"))
                    continue
                size = 0.0 if label == "lse" else logits
                if label.startswith("d index."):  # the divergence has a softmax of the scores too
                    size = max(size, self.largest_score)
                floor = self.floors.of(label)
                off = deviation(found[name], value, other[name], self.dtype, floor=floor, logits=size)
                rows.append(Row(self.case, label + suffix, off.error, off.allowed, off.ok))
        return rows

    def _backward(self, output: Tensor, aux: Any, own: bool) -> _Result:
        """The quantities of a call, and its gradients once the cotangents are sent back."""
        quantities = {"output": output, "lse": aux.lse}
        if aux.indexer_loss is not None:
            quantities["indexer_loss"] = aux.indexer_loss
        if aux.ema_inputs is not None and self._chooses and own:
            quantities["ema_inputs"] = aux.ema_inputs
        self._send(output, aux, slice(0, self.case.length))
        return _Result({name: x.detach() for name, x in quantities.items()}, self.inputs.gradients())

    def _evaluate(self, dtype: torch.dtype, choice: Choice, own: bool) -> _Result:
        """The reference in ``dtype`` at a ``choice``, by chunks; gradients are added up in float32 at least."""
        inputs = self.inputs.to(torch.promote_types(dtype, torch.float32)).requires_grad_()
        parts: dict[str, list[Tensor]] = {"output": [], "lse": [], "indexer_loss": [], "ema_inputs": []}
        for rows in self.chunks:
            result = self._reference(inputs, dtype, rows, choice(rows))
            self._send(result.output, result, rows)
            for name, found in parts.items():
                value = getattr(result, name)
                if value is not None:
                    found.append(value.detach())
        quantities = {name: torch.cat(parts[name], 2) for name in ("output", "lse")}
        if parts["indexer_loss"]:
            quantities["indexer_loss"] = torch.stack(parts["indexer_loss"]).sum()
        if parts["ema_inputs"] and self._chooses and own:
            quantities["ema_inputs"] = self._mean(parts["ema_inputs"])
        return _Result(quantities, inputs.gradients())

    def _mean(self, means: list[Tensor]) -> Tensor:
        """The mean of what chunks are the means of, by the choices in each."""
        run = self.spec.selection.queries if self.spec.selection is not None else 1
        choices = [-(-(rows.stop - rows.start) // run) for rows in self.chunks]
        weights = torch.tensor(choices, dtype=torch.float64, device=means[0].device) / sum(choices)
        mean: Tensor = (torch.stack(means) * weights.to(means[0].dtype)[:, None]).sum(0)
        return mean

    def _send(self, output: Tensor, aux: Any, rows: slice) -> None:
        """Send the cotangents of ``rows`` back from ``output`` and the loss of ``aux``."""
        total = (output * self.cotangent[:, :, rows].to(output.dtype)).sum()
        if aux.indexer_loss is not None:
            total = total + LOSS_WEIGHT * aux.indexer_loss
        torch.autograd.backward(total)
