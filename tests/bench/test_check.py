"""A wrong result is seen, whatever is wrong with it; a right one passes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from gsa_dsl.bench.check import WrongResult, check_gradients, check_rows, places
from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.results import Selection
from tests.bench.specs import EXAMPLES, SHARED, compiled, drawn


class Broken:
    """A compiled attention whose results something is done to."""

    def __init__(self, attention: CompiledAttention, output: Any = None, aux: Any = None) -> None:
        self._attention, self._output, self._aux = attention, output, aux

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attention, name)

    def __call__(self, *args: Any, return_aux: bool = False, **options: Any) -> Any:
        output, aux = self._attention(*args, return_aux=True, **options)
        output = output if self._output is None else self._output(output.clone(), return_aux)
        if not return_aux:
            return output
        return output, aux if self._aux is None else self._aux(aux)


@pytest.mark.parametrize("name", [*EXAMPLES, SHARED])
def test_a_right_result_passes(name: str) -> None:
    attention = compiled(name)
    rows, worst = check_rows(attention, drawn(attention))
    assert rows >= 13
    assert 0 <= worst <= 1


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("way", [False, True], ids=["inference", "training"])
def test_an_output_that_is_off_is_seen(name: str, way: bool) -> None:
    def last_row(output: torch.Tensor, return_aux: bool) -> torch.Tensor:
        if return_aux == way:
            output[:, -1, -1] *= 1.01
        return output

    broken: Any = Broken(compiled(name), last_row)
    said = "output" if way else r"output \(inference\)"
    with pytest.raises(WrongResult, match=rf"{said} of query 1\d\d is off by"):
        check_rows(broken, drawn(broken))


def test_not_a_number_is_wrong() -> None:
    def poisoned(output: torch.Tensor, _: bool) -> torch.Tensor:
        output[:, 0, 0, 0] = torch.nan
        return output

    broken: Any = Broken(compiled("dense"), poisoned)
    with pytest.raises(WrongResult, match="output of query 0 is off by inf"):
        check_rows(broken, drawn(broken))


@pytest.mark.parametrize("name", ["gsa", "msa", "nsa_select", "packed", "top_p", "gsa_soft"])
def test_a_choice_of_another_key_is_seen(name: str) -> None:
    """The output is right for the choice that was made; the choice is not."""
    attention = compiled(name)

    def other(aux: Any) -> Any:
        mask = aux.selection.mask()
        return dataclasses.replace(aux, selection=_Given(worst_for_best(mask), aux.selection))

    broken: Any = Broken(attention, aux=other)
    with pytest.raises(WrongResult, match=r"choice of query \d+: "):
        check_rows(broken, drawn(attention))


def worst_for_best(mask: torch.Tensor) -> torch.Tensor:
    """The same number of units in every row, but the first ones."""
    count = mask.sum(-1, keepdim=True)
    return torch.arange(mask.shape[-1]) < count


@dataclasses.dataclass
class _Given:
    chosen: torch.Tensor
    real: Selection

    def mask(self, rows: slice) -> torch.Tensor:
        return self.chosen[..., rows, :]


def test_a_budget_that_is_another_is_seen() -> None:
    broken: Any = Broken(compiled("gsa"), aux=lambda aux: dataclasses.replace(aux, budget=aux.budget + 1))
    with pytest.raises(WrongResult, match="rows report another budget than they use"):
        check_rows(broken, drawn(broken))


def test_a_normaliser_that_is_off_is_seen() -> None:
    broken: Any = Broken(compiled("alibi"), aux=lambda aux: dataclasses.replace(aux, lse=aux.lse + 0.001))
    with pytest.raises(WrongResult, match="lse of query"):
        check_rows(broken, drawn(broken))


def test_no_selection_is_wrong() -> None:
    broken: Any = Broken(compiled("gsa"), aux=lambda aux: dataclasses.replace(aux, selection=None))
    with pytest.raises(WrongResult, match="no selection was returned"):
        check_rows(broken, drawn(broken))


def test_gradients_are_compared() -> None:
    assert check_gradients(compiled("gsa"), 60, torch.device("cpu"), torch.float32) == 60

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, up: torch.Tensor) -> torch.Tensor:
            return up * 1.01

    broken: Any = Broken(compiled("sliding_sink"), lambda output, _: Doubled.apply(output))
    with pytest.raises(WrongResult, match=r"d \w+ at 60 tokens is off by"):
        check_gradients(broken, 60, torch.device("cpu"), torch.float32)


def test_places_begin_where_a_choice_does() -> None:
    spec = compiled(SHARED).spec
    found = places(spec, 200, 20)
    assert all(place.start % 16 == 0 and 1 <= place.stop - place.start <= 4 for place in found)
    assert len(found) == 13
    assert max(place.stop - place.start for place in found) == 4
    assert places(compiled("dense").spec, 5, 16) == [slice(t, t + 1) for t in range(5)]
