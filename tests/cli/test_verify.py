"""``gsa verify``: the verdict, and that it can be a bad one."""

from __future__ import annotations

import dataclasses

import pytest

from gsa_dsl.cli.verify import print_report
from gsa_dsl.testing import campaign
from gsa_dsl.testing.report import Case, Row, VerifyReport
from tests.cli.running import Gsa

QUICK = ("--backend", "torch", "--L", "20")


def test_a_good_spec_is_verified(gsa: Gsa) -> None:
    ran = gsa("verify", "examples/gsa.gsa", *QUICK)
    assert (ran.status, ran.err) == (0, "")
    assert "on torch, cpu, float32" in ran.out
    assert "d index.q" in ran.out
    assert ran.out.splitlines()[-1].startswith("verified: ")
    assert "\x1b" not in ran.out


def test_generated_kernels_are_what_is_verified_without_a_gpu(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ran = gsa("verify", "good.gsa", "--L", "20", "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["backend"], ran.json["ok"]) == ("interpret", True)


def test_options_reach_the_verification(gsa: Gsa) -> None:
    shape = ("--heads", "6", "--kv-heads", "3", "--head-dim", "8")
    precision = ("--dtype", "float16")
    ran = gsa("verify", "good.gsa", "--backend", "torch", "--L", "9", "--L", "12", "--json", *precision, *shape)
    assert ran.status == 0, ran.err
    assert ran.json["dtype"] == "float16"
    cases = [row["case"] for row in ran.json["rows"]]
    assert {case["length"] for case in cases} == {9, 12}
    assert {(case["heads"], case["kv_heads"], case["head_dim"]) for case in cases} == {(6, 3, 8)}


def test_without_parameters_the_budget_is_scaled_down(gsa: Gsa) -> None:
    scaled = gsa("verify", "examples/dsa.gsa", *QUICK).out.splitlines()[0]
    assert "(k = 12)" in scaled
    given = gsa("verify", "examples/dsa.gsa", "-p", "k=7", *QUICK).out.splitlines()[0]
    assert "(k = 7)" in given


def test_a_budget_beyond_every_length_is_noted(gsa: Gsa) -> None:
    assert "nothing was left out by any selection" in gsa("verify", "examples/dsa.gsa", "-p", "k=2048", *QUICK).out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_kernel_that_is_off_fails(gsa: Gsa, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    real = campaign.verify

    def off(compiled: object, **options: object) -> VerifyReport:
        report = real(compiled, **options)  # type: ignore[arg-type]
        worse = dataclasses.replace(report.rows[0], error=1.0, ok=False, note="off by one")
        return dataclasses.replace(report, rows=(worse, *report.rows[1:]))

    monkeypatch.setattr(campaign, "verify", off)
    ran = gsa("verify", "good.gsa", *QUICK, *(["--json"] if as_json else []))
    assert ran.status == 1
    if as_json:
        assert ran.json["ok"] is False
    else:
        assert "verified: " not in ran.out
        assert "off by one" in ran.err
        assert "gsa: error: not verified: 1 of " in ran.err


def test_every_failure_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    case = Case(1, 8, 2, 1, 16, 16, "normal", "sparse")
    rows = tuple(Row(case, "output", error, 1e-6, error < 1e-6) for error in (1e-7, 0.5, float("inf")))
    print_report(VerifyReport("x", "torch", "cpu", "float32", 0, rows), {})
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].split()[0] == "output"
    assert shown.out.splitlines()[-1].split()[-1] == "NO"
    assert shown.err.splitlines() == [
        "output: 5.00e-01 of 1.00e-06 allowed, B=1 L=8 H=2/1 D=16 normal",
        "output: inf of 1.00e-06 allowed, B=1 L=8 H=2/1 D=16 normal",
        "gsa: error: not verified: 2 of 3 comparisons failed",
    ]


@pytest.mark.parametrize(("backend", "dtype"), [("interpret", "bfloat16"), ("interpret", "float64")])
def test_a_precision_the_backend_does_not_have(gsa: Gsa, backend: str, dtype: str) -> None:
    ran = gsa("verify", "good.gsa", "--backend", backend, "--dtype", dtype)
    assert (ran.status, ran.out) == (2, "")
    assert f"--dtype {dtype} does not run on the backend '{backend}'" in ran.err


def test_triton_without_a_gpu_is_misuse(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ran = gsa("verify", "good.gsa", "--backend", "triton")
    assert ran.status == 2
    assert "needs a CUDA device" in ran.err
