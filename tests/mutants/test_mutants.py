"""The harness itself: its mutants are what they say, and a few of them are really caught."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from gsa_dsl.compiler import generate
from tests.codegen.generated import EXAMPLES, PARAMS, SHAPE, example
from tests.mutants import __main__ as command
from tests.mutants import child, log
from tests.mutants.child import SHEEP, Trial, Verdict
from tests.mutants.mutant import Mutant, sources
from tests.mutants.named import FAULTS, Fault, named
from tests.mutants.pool import Outcome, run_trials, unchanged_modules
from tests.mutants.report import Summary
from tests.mutants.rules import RULES, generated, sample
from tests.mutants.specs import SUBJECTS
from tests.mutants.survivors import EQUIVALENT, MISSED

FILES = sources()
EVERY = [*named(FILES), *generated(FILES)]
# Caught by quick specs, one in each kind of file: eager torch, a pass, a macro, a kernel, the host.
QUICK = (
    "templates/eager.py.jinja: the lse forgets the maximum",
    "gsa_dsl/passes/derivative.py: the derivative of tanh",
    "templates/macros/logit.jinja: delta is forgotten",
    "templates/kernels/attend.py.jinja: the output is not rescaled",
    "templates/host/attend.py.jinja: a gradient goes to the wrong operand",
    "templates/kernels/input_gate.py.jinja: the input gate is not passed through",
)
SMALL = tuple(subject for subject in SUBJECTS if subject.name in ("window", "dense", "alibi"))


def test_mutants_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len(EVERY) > 500
    assert len({mutant.name for mutant in EVERY}) == len(EVERY)
    assert {mutant.rule for mutant in EVERY} == {rule.name for rule in RULES} | {"named"}
    assert {mutant.file for mutant in EVERY} >= {file for file in FILES if "kernels/" in file}


@pytest.mark.parametrize("file", FILES)
def test_a_mutant_changes_its_file_and_nothing_else_of_it(file: str) -> None:
    text = FILES[file]
    for mutant in (mutant for mutant in EVERY if mutant.file == file):
        changed = mutant.apply(text)
        assert changed != text, mutant.name
        assert changed[: mutant.start] == text[: mutant.start]
        assert changed.endswith(text[mutant.stop :])


def test_a_fault_whose_place_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.mutants.named.FAULTS", (Fault("gone", FAULTS[0].file, "no such code", ""),))
    with pytest.raises(ValueError, match="no longer holds what 'gone' changes"):
        named(FILES)


def test_a_sample_does_not_depend_on_the_rest() -> None:
    some = sample(generated(FILES), 1)
    assert 100 < len(some) < 450
    without = [mutant for mutant in generated(FILES) if mutant.file != "templates/eager.py.jinja"]
    assert set(sample(without, 1)) == {mutant for mutant in some if mutant.file != "templates/eager.py.jinja"}


def test_the_table_names_mutants_that_exist_and_says_why() -> None:
    assert {*EQUIVALENT, *MISSED} <= {mutant.name for mutant in EVERY}
    assert all(len(reason) > 20 for reason in (*EQUIVALENT.values(), *MISSED.values()))


@pytest.mark.slow
def test_a_few_mutants_are_caught_and_the_compiler_itself_is_not() -> None:
    chosen = {mutant.name: mutant for mutant in EVERY if mutant.name in QUICK}
    assert sorted(chosen) == sorted(QUICK)
    nothing = Mutant("gsa_dsl/__init__.py", "none", "a line at the end", 0, 0, "# another line\n")
    with unchanged_modules(SMALL) as folder:
        trials = [Trial(mutant, folder, subjects=SMALL) for mutant in (*chosen.values(), nothing)]
        outcomes = run_trials(trials, jobs=1)
    fates = {outcome.mutant.name: outcome.verdict for outcome in outcomes}
    assert fates.pop(nothing.name).fate == "not reached"
    assert {verdict.fate for verdict in fates.values()} == {"killed"}, fates
    assert all(verdict.by and verdict.where for verdict in fates.values())


def test_every_spec_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant that survives many specs is not taken for a loop without end."""
    limits: list[int] = []
    monkeypatch.setattr(child.resource, "setrlimit", lambda what, limit: limits.append(limit[0]))
    monkeypatch.setattr(child, "_fitting", lambda trial: ((subject, "torch") for subject in SMALL))

    def verify(*_: object) -> None:
        begun = time.process_time()
        while time.process_time() < begun + 1.1:
            pass

    monkeypatch.setattr(child, "_verify", verify)
    assert child._judge(Trial(SHEEP, seconds=5), Path()).fate == "survived"
    assert limits[0] > 5
    assert limits[2] > limits[1] > limits[0]


def outcome(name: str, fate: str, by: str = "output") -> Outcome:
    return Outcome(Mutant("f", "rule", name, 0, 1, ""), Verdict(fate, by), 1.0)


def test_a_survivor_without_a_reason_is_a_failure() -> None:
    known = {"b": "it computes the same", "d": "wrongly believed to compute the same"}
    good = Summary((outcome("a", "killed"), outcome("b", "survived"), outcome("c", "not valid")), known)
    assert good.ok
    assert good.rate == 1.0
    assert "1 of 1 mutants killed (100.0%); 1 more are equivalent, 1 do not compile" in str(good)
    assert "it computes the same" in str(good)
    for worse in (outcome("x", "survived"), outcome("x", "not reached"), outcome("d", "killed")):
        summary = Summary((*good.outcomes, worse), known)
        assert not summary.ok
        assert worse.mutant.name in str(summary)
    assert Summary((*good.outcomes, outcome("x", "survived")), known).rate == 0.5
    assert len(Summary((*good.outcomes, outcome("d", "not reached")), known).explained) == 2
    missed = Summary((*good.outcomes, outcome("m", "survived")), known, {"m": "seen by nobody"})
    assert (missed.ok, missed.rate) == (True, 0.5)
    assert json.loads(json.dumps(good.data()))["killed"] == 1


def test_the_command_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list", "--only", "a stale maximum"]) == 0
    assert capsys.readouterr().out == "templates/kernels/attend.py.jinja: a stale maximum\n"
    assert command.main(["--only", "no such mutant"]) == 2
    assert SHEEP.apply("text") == "text"


def test_a_run_goes_on_from_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, chosen = tmp_path / "log", named(FILES)[:3]
    tried: list[str] = []

    def run(trials: list[Trial], *, jobs: int, done: Callable[[Outcome], None]) -> list[Outcome]:
        outcomes = [Outcome(trial.mutant, Verdict("killed", "output", "there"), 1.0) for trial in trials[:2]]
        tried.extend(outcome.mutant.name for outcome in outcomes)
        for each in outcomes:
            done(each)
        return outcomes

    monkeypatch.setattr(command, "_chosen", lambda arguments: chosen)
    monkeypatch.setattr(command, "run_trials", run)
    monkeypatch.setattr(command, "unchanged_modules", lambda: nullcontext("unused"))
    for _ in range(2):
        assert command.main(["--log", str(path), "--json"]) == 0
        with path.open("a") as stream:
            stream.write('{"name": "cut sh')
            stream.write("\n")
    assert tried == [mutant.name for mutant in chosen]
    assert [outcome.verdict.where for outcome in log.known(path, chosen)] == ["there"] * 3
    assert log.known(tmp_path / "none", chosen) == []


def test_the_specs_reach_every_kernel_that_examples_have() -> None:
    """A fault that no spec reaches is not seen to survive."""

    def kernels(text: str) -> set[str]:
        return set(re.findall(r"def (\w+_kernel)\(", text))

    examples = (generate(example(name), PARAMS[name], SHAPE, None, "triton") for name in EXAMPLES)
    wanted = set().union(*map(kernels, examples))
    assert "index_grad_kernel" in wanted
    assert wanted <= set().union(*(kernels(child.generate(subject, "interpret")) for subject in SUBJECTS))
