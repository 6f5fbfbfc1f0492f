"""``gsa tune``: everything that needs no GPU, and what it says where one is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gsa_dsl.cli import stages
from gsa_dsl.tuning import key as keys
from gsa_dsl.tuning import tuner
from gsa_dsl.tuning.key import key_for, spec_digest
from gsa_dsl.tuning.store import Store
from tests.cli.running import Gsa
from tests.tuning.entries import H100, entry, key


@pytest.fixture
def h100(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(keys, "machine", lambda device=None: H100)


def test_help_has_examples(gsa: Gsa) -> None:
    ran = gsa("tune", "--help")
    assert ran.status == 0
    assert "gsa tune gsa.gsa --dry-run --target sm_90" in ran.out


def test_the_space(gsa: Gsa) -> None:
    shape = ("--heads", "64", "--kv-heads", "4")
    ran = gsa("tune", "examples/gsa.gsa", "--show-space", *shape)
    assert (ran.status, ran.err) == (0, "")
    assert "1 2 4 [8] 16" in ran.out
    for group in ("attend", "backward", "score", "threshold", "list", "loss", "guess", "keep", "settle", "whole calls"):
        assert f"\n{group} " in ran.out
    data = gsa("tune", "examples/gsa.gsa", "--show-space", "--json", *shape).json
    (file,) = data["files"]
    assert (data["ok"], file["shared"]["tile"]) == (True, [1, 2, 4, 8, 16])
    assert file["whole_calls"] == {
        "sample": [1024, 2048],
        "workspace_mib": [128, 256, 512],
        "gather": [40, 66],  # never to gather is not among them: it is decided at every call
    }
    assert [group["name"] for group in file["groups"]][:3] == ["attend", "gather", "backward"]
    dense = gsa("tune", "examples/dense.gsa", "--show-space", "--json", *shape).json["files"][0]
    assert [group["name"] for group in dense["groups"]] == ["attend", "backward", "by key"]


@pytest.mark.slow
def test_a_dry_run_needs_no_gpu(gsa: Gsa) -> None:
    ran = gsa("tune", "examples/dense.gsa", "--dry-run", "--target", "sm_89", "--budget", "8s")
    assert (ran.status, ran.err) == (0, "")
    assert "dense.gsa for sm_89" in ran.out
    assert " survive\n" in ran.out
    assert "too large" in ran.out
    assert "for example attend: tile=" in ran.out


def test_without_a_gpu_nothing_is_measured(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = gsa("tune", "good.gsa")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no CUDA device here; --show-space and --dry-run need none" in ran.err
    assert gsa("tune", "good.gsa", "--why").status == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "name a spec to tune"),
        (("good.gsa", "--budget", "soon"), "expected a time as 60s or 5m"),
        (("good.gsa", "--budget", "0"), "expected at least a second"),
        (("good.gsa", "--overlap", "2"), "expected a number from 0 to 1"),
        (("good.gsa", "--show-space", "--why"), "not allowed with"),
        (("--import", "nowhere.json"), "cannot read nowhere.json"),
        (("--import", "good.gsa"), "good.gsa holds no tuned configurations"),
    ],
    ids=str,
)
def test_misuse(gsa: Gsa, argv: tuple[str, ...], said: str) -> None:
    ran = gsa("tune", *argv)
    assert ran.status == 2
    assert said in ran.err


def test_a_wrong_spec_is_diagnosed(gsa: Gsa) -> None:
    ran = gsa("tune", "wrong.gsa", "--show-space")
    assert ran.status == 1
    assert "sigmod" in ran.err


def test_export_list_and_import(gsa: Gsa, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Store.of_user().put([entry(key()), entry(key(32768))])
    assert "0.9  NVIDIA H100 80GB HBM3  2.00 x  yours" in gsa("tune", "--list").out
    assert gsa("tune", "--export", "out.json").out == "out.json: 2 tuned configurations\n"
    monkeypatch.setenv("GSA_DSL_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert not [one for one in gsa("tune", "--list", "--json").json["entries"] if one["from"] == "yours"]
    assert "2 tuned configurations added" in gsa("tune", "--import", "out.json").out
    assert set(Store.of_user().entries()) == {key(), key(32768)}


@pytest.mark.usefixtures("h100")
def test_why(gsa: Gsa) -> None:
    assert "nothing is stored at all" in gsa("tune", "good.gsa", "--why").out or Store.of_user().shipped_entries()
    text = Path("good.gsa").read_text()
    made = key_for(spec_digest(text, {}), (32, 8, 128), "bfloat16", 8192, None, H100)
    Store.of_user().put([entry(made)])
    hit = gsa("tune", "good.gsa", "--why")
    assert "good.gsa at 8192 tokens uses tuned at 8192 tokens on NVIDIA H100" in hit.out
    assert "differs" not in hit.out
    miss = gsa("tune", "good.gsa", "--why", "--length", "1048576", "--dtype", "float16")
    assert "uses the planner's default" in miss.out
    assert [line.split() for line in miss.out.splitlines()[-2:]] == [
        ["dtype", "float16", "bfloat16"],
        ["length", "1048576", "8192"],
    ]
    (file,) = gsa("tune", "good.gsa", "--why", "--json").json["files"]
    assert (file["keys"][0]["hit"], file["keys"][0]["differences"]) == (True, [])


@pytest.mark.usefixtures("h100")
def test_explain_shows_what_is_tuned(gsa: Gsa) -> None:
    text = Path("good.gsa").read_text()
    made = key_for(spec_digest(text, {}), (32, 8, 128), "bfloat16", 8192, None, H100)
    Store.of_user().put([entry(made)])
    out = gsa("explain", "good.gsa", "--stage", "plan").out
    assert "tuned (tuned at 8192 tokens on NVIDIA H100 80GB HBM3, from " in out
    assert stages.tuned_facts.__doc__


@pytest.mark.usefixtures("h100")
def test_tuning_prints_a_table_and_every_failure(gsa: Gsa, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tuner.tune

    def on_the_fake_machine(subject: tuner.Subject, **options: object) -> tuner.TuneReport:
        changed = tuner.Subject(subject.spec, subject.name, {}, 64, 4, 128)
        return real(changed, runner="tests.tuning.fakes:FakeRunner", checkers=2, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tuner, "tune", on_the_fake_machine)
    Path("bad.gsa").write_text("attention bad { causal always last 64 # wrong:tile=16\n }")
    ran = gsa("tune", "bad.gsa", "--length", "8192", "--budget", "60")
    assert (ran.status, ran.err) == (0, "")
    assert "bad on NVIDIA H100 80GB HBM3, bfloat16" in ran.out
    assert "exhausted" in ran.out
    assert "8192: block_keys=128, " in ran.out
    assert "failed, wrong result: output off by 0.5 of 0.01" in ran.out
    again = gsa("tune", "bad.gsa", "--json").json
    assert (again["ok"], again["files"][0]["rows"][0]["origin"]) == (True, "stored")
    assert again["files"][0]["rows"][0]["seconds"] < 0.05
