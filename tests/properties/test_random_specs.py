"""Random specs: all of them check, the reference gives them finite results, and compiled they mean the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

import gsa_dsl
from gsa_dsl.reference.dense import reference
from gsa_dsl.testing.inputs import make_inputs
from gsa_dsl.testing.specs import load_spec
from gsa_dsl.testing.strategies import Shape, shapes, specs
from gsa_dsl.testing.verify import verify

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(text=specs(), shape=shapes(longest=20))
def test_every_generated_spec_checks_and_its_reference_is_finite(text: str, shape: Shape) -> None:
    spec = load_spec(text)
    inputs = make_inputs(
        spec,
        batch=shape.batch,
        length=shape.length,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        value_dim=shape.value_dim,
        dtype=torch.float64,
    ).requires_grad_()
    result = reference(spec, inputs.query, inputs.key, inputs.value, **inputs.keywords())
    loss = result.output.square().sum()
    torch.autograd.backward(loss if result.indexer_loss is None else loss + result.indexer_loss)
    assert result.output.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in inputs.gradients().values())


@pytest.mark.parametrize(
    ("backend", "longest"),
    [pytest.param("torch", 70, id="torch"), pytest.param("interpret", 24, id="interpret", marks=pytest.mark.slow)],
)
def test_a_compiled_random_spec_means_what_the_reference_says(
    backend: str, longest: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("cache")

    @settings(max_examples=12 if backend == "torch" else 6, derandomize=True, deadline=None, suppress_health_check=SLOW)
    @given(text=specs(), shape=shapes(longest=longest))
    def check(text: str, shape: Shape) -> None:
        compiled = gsa_dsl.compile(
            text,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            value_dim=shape.value_dim,
            backend=backend,
            cache_dir=cache,
        )
        report = verify(compiled, shapes=[(shape.batch, shape.length)], patterns=("normal",))
        assert report.ok, f"{text}\n{report}"

    check()
