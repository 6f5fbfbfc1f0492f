"""Every example, compiled small, against the reference; half precision and mixed inputs where a CPU can."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gsa_dsl
from gsa_dsl.options import KernelConfig
from gsa_dsl.testing.inputs import make_inputs
from gsa_dsl.testing.specs import load_spec, most_keys, small_params
from gsa_dsl.testing.verify import verify, verify_spec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.gsa"))
TILES = KernelConfig(
    tile=8, block_keys=16, backward_keys=16, score_rows=16, score_keys=32, strip=2, scan_keys=64, list_keys=16
)


@pytest.mark.parametrize("name", NAMES)
def test_examples_on_torch(name: str) -> None:
    report = verify_spec(EXAMPLES / f"{name}.gsa", backend="torch", head_shapes=[(4, 1, 16)], shapes=[(1, 1), (2, 53)])
    assert report.ok, str(report)
    assert not report.notes


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "dsa"])  # 64 heads of 128 are slow to interpret
def test_examples_in_the_interpreter(name: str) -> None:
    report = verify_spec(
        EXAMPLES / f"{name}.gsa",
        backend="interpret",
        head_shapes=[(4, 2, 16)],
        shapes=[(1, 1), (1, 35)],
        patterns=("normal", "nan"),
        config=TILES,
    )
    assert report.ok, str(report)
    assert not report.notes


@pytest.mark.parametrize("name", NAMES)
def test_small_parameters_leave_keys_out_at_short_lengths(name: str) -> None:
    path = EXAMPLES / f"{name}.gsa"
    spec = load_spec(path)
    small = load_spec(path, small_params(spec, 48))
    most = most_keys(small)
    assert (most is None) == (most_keys(spec) is None)
    assert most is None or 1 <= most <= 13
    assert small.indexer == spec.indexer


def test_half_precision_with_weights_in_single(tmp_path: Path) -> None:
    """The indexer's w and b may be float32 beside float16; the interpreter can do float16."""
    compiled = gsa_dsl.compile(
        EXAMPLES / "sparse_only.gsa",
        heads=2,
        kv_heads=1,
        head_dim=16,
        backend="interpret",
        cache_dir=tmp_path,
        params={"k": 6, "recent": 3},
    )
    report = verify(compiled, shapes=[(1, 33)], dtype=torch.float16, patterns=("normal",))
    assert report.ok, str(report)
    x = make_inputs(compiled.spec, batch=1, length=33, heads=2, kv_heads=1, head_dim=16, dtype=torch.float16)
    assert x.index is not None
    mixed = x.replaced({"index.w": x.index["w"].float(), "index.b": x.index["b"].float()})
    assert torch.equal(
        compiled(x.query, x.key, x.value, index=x.index), compiled(x.query, x.key, x.value, index=mixed.index)
    )
