"""``gsa explain``: the cost table and the stages."""

from __future__ import annotations

import re

import pytest

from gsa_dsl.cli.cost_table import flops, size
from tests.cli.running import ROOT, Gsa

EXAMPLES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "examples").glob("*.gsa"))
STAGES = ("ast", "typed", "cost", "ir", "plan", "source")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_stage_of_every_example(gsa: Gsa, example: str) -> None:
    for stage in STAGES:
        text = gsa("explain", example, "--stage", stage)
        assert (text.status, text.err) == (0, "")
        assert text.out.endswith("\n")
        machine = gsa("explain", example, "--stage", stage, "--json")
        assert (machine.status, machine.err) == (0, "")
        assert (machine.json["ok"], machine.json["stage"]) == (True, stage)


def test_the_cost_of_dense_attention_is_what_one_counts(gsa: Gsa) -> None:
    shape = ("--L", "100", "--B", "3", "--heads", "4", "--kv-heads", "2", "--head-dim", "8")
    data = gsa("explain", "examples/dense.gsa", "--json", *shape).json
    attention = next(row for row in data["rows"] if row["construct"] == "attention")
    pairs = 100 * 101 // 2
    assert data["pairs"] == pairs
    assert attention["flops"] == 3 * 4 * pairs * 8 * 2 * 2
    assert attention["selected"] == 100
    assert data["total"] == data["dense"]
    assert data["sizes"] == {"length": 100, "batch": 3, "heads": 4, "kv_heads": 2, "head_dim": 8, "value_dim": 8}


def test_rows_add_up_to_the_total(gsa: Gsa) -> None:
    data = gsa("explain", "examples/gsa.gsa", "--json").json
    for quantity in ("flops", "bytes", "memory"):
        assert sum(row[quantity] for row in data["rows"]) == pytest.approx(data["total"][quantity])
    assert {row["construct"] for row in data["rows"]} >= {"gate value", "indexer", "select", "attention", "kl loss"}
    assert data["params"] == {"k_base": 2048, "k_min": 256, "k_max": 4096}


def test_the_cost_follows_sizes_and_parameters(gsa: Gsa) -> None:
    def total(*argv: str) -> float:
        flops: float = gsa("explain", "examples/gsa.gsa", "--json", *argv).json["total"]["flops"]
        return flops

    assert total() > total("--L", "65536")
    assert total() > total("-p", "k_max=1024")
    assert total("--heads", "64") > total()
    assert total("--B", "2") == pytest.approx(2 * total())


def test_the_table(gsa: Gsa) -> None:
    out = gsa("explain", "examples/gsa.gsa", "--L", "131072").out
    assert out.startswith("attention gsa at L = 131,072, B = 1, 32 heads, 8 kv heads of 128\n")
    assert re.search(r"^select +15 .* 4,096$", out, re.M)
    assert re.search(r"^total +[\d.]+ TFLOP +[\d.]+ TiB +[\d.]+ GiB +4,096$", out, re.M)
    assert re.search(r"^attention +flops +4 \* B \* D \* H \* pairs$", out, re.M)
    assert "attends to 528,484,352 of the 8,590,000,128 pairs" in out
    assert "\x1b" not in out


def test_training_is_set_apart(gsa: Gsa) -> None:
    trained = gsa("explain", "examples/gsa.gsa").out
    assert "without training: " in trained
    assert "without training: " not in gsa("explain", "examples/sliding_sink.gsa").out


def test_the_typed_tree_shows_ranges(gsa: Gsa) -> None:
    out = gsa("explain", "examples/gsa.gsa", "--stage", "typed").out
    assert "score: Reduce free={s, t} range=(0, 4) op='sum'" in out
    assert "clause" not in out


def test_the_ir_shows_derivatives(gsa: Gsa) -> None:
    sections = gsa("explain", "examples/gsa.gsa", "--stage", "ir", "--json").json["sections"]
    assert set(sections) == {"value gate", "output gate", "score", "budget", "attention"}
    assert sections["value gate"]["d factor / d z0"] == "x0 * (1.0 - x0)"
    assert sections["score"]["acc0"].startswith("sum over j of ")
    assert sections["budget"]["k"] == "clamp(2048.0 * ema0 / row_var, 256.0, 4096.0)"


def test_the_plan_knows_the_shape(gsa: Gsa) -> None:
    plan = gsa("explain", "examples/gsa.gsa", "--stage", "plan", "--json", "--heads", "6", "--kv-heads", "3").json[
        "plan"
    ]
    assert {"heads": 6, "kv_heads": 3, "head_dim": 128}.items() <= plan["shape"].items()
    assert "score" not in plan


def test_the_source_is_what_compile_writes(gsa: Gsa) -> None:
    gsa("compile", "examples/gsa.gsa", "-o", "out")
    with open("out/gsa.py", encoding="utf-8") as file:
        assert gsa("explain", "examples/gsa.gsa", "--stage", "source").out == file.read()


def test_units() -> None:
    assert [flops(x) for x in (0, 12, 1500, 2.5e12)] == ["", "12 FLOP", "1.5 kFLOP", "2.5 TFLOP"]
    assert [size(x) for x in (0, 1023, 1024, 3.5 * 2**30)] == ["", "1023 B", "1 KiB", "3.5 GiB"]
