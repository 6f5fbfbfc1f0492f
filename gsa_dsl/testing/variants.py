"""Property tests of variants in a pytest suite: a hypothesis strategy of whole cases, and a decorator that draws them.

    @gsa_dsl.testing.given_variant()
    def test_my_rewrite_computes_the_same(variant: Variant) -> None:
        x = variant.inputs()
        output = my_rewrite(variant.spec, x)
        torch.testing.assert_close(output, variant.reference(x).output.float())

Needs the ``hypothesis`` package, which ``pip install gsa_dsl[testing]`` brings along.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from gsa_dsl.compiler import CompiledAttention
from gsa_dsl.reference.dense import ReferenceResult, reference
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.draws import patterns_for
from gsa_dsl.testing.failing import standalone
from gsa_dsl.testing.inputs import Inputs, make_inputs
from gsa_dsl.testing.report import VerifyReport
from gsa_dsl.testing.specs import load_spec, small_params
from gsa_dsl.testing.strategies import Shape, shapes, specs
from gsa_dsl.testing.tiles import tiles_for
from gsa_dsl.testing.verify import verify

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Values:
    """How a case's operands are drawn: a pattern of :func:`make_inputs`, a seed, and whether the layout is unusual."""

    pattern: str
    seed: int
    strided: bool


@dataclass(frozen=True)
class Variant:
    """A spec with a shape and values to run it on."""

    text: str
    shape: Shape
    values: Values

    @cached_property
    def spec(self) -> CheckedSpec:
        return load_spec(self.text)

    def inputs(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Inputs:
        """Operands for a call: ``compiled(x.query, x.key, x.value, **x.keywords())``."""
        shape, values = self.shape, self.values
        x = make_inputs(
            self.spec,
            batch=shape.batch,
            length=shape.length,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            value_dim=shape.value_dim,
            dtype=dtype,
            device=device,
            seed=values.seed,
            pattern=values.pattern,
        )
        return x.strided() if values.strided else x

    def reference(self, x: Inputs) -> ReferenceResult:
        """What the spec means on these operands, in float64."""
        return reference(self.spec, x.query, x.key, x.value, **x.keywords())

    def compile(self, backend: str = "torch", cache_dir: str | os.PathLike[str] | None = None) -> CompiledAttention:
        """The spec compiled for the shape; interpreted kernels get small tiles."""
        import gsa_dsl

        shape = self.shape
        return gsa_dsl.compile(
            self.text,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            value_dim=shape.value_dim,
            backend=backend,
            config=tiles_for(backend, shape.heads, shape.kv_heads),
            cache_dir=cache_dir,
        )

    def verify(self, backend: str = "torch", cache_dir: str | os.PathLike[str] | None = None) -> VerifyReport:
        """Compile the spec and hold it against the reference on these values, forward and backward."""
        return verify(
            self.compile(backend, cache_dir),
            shapes=[(self.shape.batch, self.shape.length)],
            patterns=(self.values.pattern,),
            seed=self.values.seed,
            strided=self.values.strided,
        )


@st.composite
def values(draw: DrawFn, spec: CheckedSpec) -> Values:
    """Values for ``spec``; the simplest are normal, of seed 0, laid out as usual."""
    pattern = draw(st.sampled_from(patterns_for(spec)))
    return Values(pattern, draw(st.integers(0, 2**16)), draw(st.booleans()))


@st.composite
def cases(draw: DrawFn, text: str | os.PathLike[str] | None = None, *, longest: int = 40) -> Variant:
    """A :class:`Variant`: of the spec ``text`` (or a path), its parameters scaled down to the lengths, or of any."""
    body = draw(specs()) if text is None else _small(text, longest)
    shape = draw(shapes(longest=longest))
    return Variant(body, shape, draw(values(load_spec(body))))


def _small(text: str | os.PathLike[str], longest: int) -> str:
    """The spec as one text with parameters under which ``longest`` positions are more than it selects."""
    spec = load_spec(text)
    return standalone(spec, small_params(spec, longest))


def given_variant(
    text: str | os.PathLike[str] | None = None,
    *,
    longest: int = 40,
    max_examples: int | None = None,
    strategy: SearchStrategy[Variant] | None = None,
) -> Callable[[F], F]:
    """Run a test on many a ``variant``: random specs, or the spec ``text`` at random shapes and values.

    A failure is shrunk by hypothesis. ``longest``: the most positions; ``max_examples``: how many are tried (20 unless
    said, here or by ``hypothesis.settings`` below the decorator); ``strategy`` replaces :func:`cases`.
    """
    drawn = strategy if strategy is not None else cases(text, longest=longest)

    def decorate(test: F) -> F:
        slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
        run = given(variant=drawn)(test)
        if max_examples is not None or not hasattr(test, "_hypothesis_internal_use_settings"):
            run = settings(max_examples=max_examples or 20, deadline=None, suppress_health_check=slow)(run)
        return run  # type: ignore[return-value]

    return decorate
