"""``gsa bench`` where there is something to measure: short, but everything it does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from gsa_dsl.bench.gauge import CudaGauge
from gsa_dsl.bench.records import Record, read
from gsa_dsl.bench.stages import stages
from gsa_dsl.cli import main

pytestmark = pytest.mark.gpu

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHAPE = ("--heads", "16", "--kv-heads", "2", "--head-dim", "64", "--lengths", "2048", "--repeats", "3")


def bench(tmp_path: Path, name: str, *argv: str) -> list[Record]:
    out = tmp_path / "rows.jsonl"
    assert main(["bench", str(EXAMPLES / f"{name}.gsa"), *SHAPE, "--out", str(out), *argv]) == 0
    torch.cuda.empty_cache()
    return read([out])


def test_a_time_is_the_gpus_and_not_the_hosts() -> None:
    x = torch.zeros(1 << 20, device="cuda")

    def late() -> None:
        time.sleep(0.005)  # a slow host
        x.add_(1)

    timed = CudaGauge().time(late, 5)
    assert timed.ms < 1.0
    assert timed.host_ms is not None
    assert 5.0 <= timed.host_ms < 20.0
    assert timed.peak - timed.held < 1 << 20  # what overwrites the cache does not count


@pytest.mark.slow
def test_a_spec_beside_every_rival(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("-p", "k_base=256", "-p", "k_min=64", "-p", "k_max=512")
    low, high = bench(tmp_path, "gsa", *few, "--overlaps", "0", "0.8")
    shown = capsys.readouterr().out
    assert "gsa (k_base = 256, k_min = 64, k_max = 512), heads 16/2 x 64 at 2,048 tokens, overlap 0." in shown
    for row in (low, high):
        assert row.failure is None
        assert [(rival.name, rival.function, rival.why) for rival in row.rivals] == [
            ("SDPA flash", "dense causal", None),
            ("SDPA cuDNN", "dense causal", None),
            ("FlexAttention", "dense causal", None),
        ]
        assert row.checked is not None
        assert row.checked.gradients_at == 2048
        for phase, timed in row.times.items():
            parts = stages(row.kernels[phase])
            assert parts["attention"] > 0
            assert sum(parts.values()) < 3 * timed.ms
            assert timed.peak > timed.held > 0
        assert {"dq", "indexer's loss"} <= set(stages(row.kernels["training"]))
    assert low.overlap is not None
    assert high.overlap is not None
    assert low.overlap < 0.6 < high.overlap < 0.9
    assert 100 < low.setting.matmul_tflops < 3000
    assert 500 < low.setting.copy_gb_s < 20000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("sliding_sink", ("window=256",)),
        ("alibi", ()),
        ("relative_bias", ()),
        ("msa", ("k=3",)),
        ("moba", ("block=128",)),
    ],
)
def test_flex_attention_computes_the_same_mask(name: str, params: tuple[str, ...], tmp_path: Path) -> None:
    given = [x for param in params for x in ("-p", param)]
    (row,) = bench(tmp_path, name, *given, "--rivals", "flex", "--overlaps", "0.8")
    (flex,) = row.rivals
    assert (flex.function, flex.why) == ("same mask", None)
    assert set(flex.times) == {"forward", "training"}


def test_forward_alone_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = bench(tmp_path, "dense", "--forward-only", "--rivals", "flash", "--json")
    assert set(row.times) == {"forward"}
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is True
    assert data["rows"][0]["rivals"][0]["times"]["forward"]["ms"] > 0


def test_what_does_not_fit_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, whole = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((4 << 30) / whole)
    try:
        argv = ("--lengths", "262144", "2048", "--forward-only", "--rivals", "--out", str(tmp_path / "rows.jsonl"))
        status = main(["bench", str(EXAMPLES / "sliding_sink.gsa"), *SHAPE[:6], *argv])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert status == 1
    assert "at 262,144 tokens: out of memory (" in capsys.readouterr().err
    first, second = read([tmp_path / "rows.jsonl"])
    assert first.failure is not None
    assert set(second.times) == {"forward"}
