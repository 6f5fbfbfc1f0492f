"""One mutant in a process of its own: a copy of the compiler with the fault in it is verified on small specs.

Nothing of gsa_dsl may be imported at the top: the process imports it from the copy.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.specs import SUBJECTS, Subject

SHEEP = Mutant("gsa_dsl/__init__.py", "none", "nothing changed", 0, 0, "")


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: ``fate`` is killed, survived, not reached or not valid (it does not even compile).

    ``by`` names the first quantity that caught it, or the exception; ``where`` the spec, backend and case.
    """

    fate: str
    by: str = ""
    where: str = ""


@dataclass(frozen=True)
class Trial:
    """A mutant and the specs to try it on, at most ``most`` of those it changes.

    ``unchanged`` is the folder of the modules that the compiler generates as it is; without one every spec is tried.
    ``seconds`` of processor time are all that a spec gets.
    """

    mutant: Mutant
    unchanged: str | None = None
    most: int | None = None
    seconds: int = 200
    subjects: tuple[Subject, ...] = SUBJECTS


def run(trial: Trial, answer: Any) -> None:
    """Send the verdict on a trial to the connection ``answer``."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of this process
    with tempfile.TemporaryDirectory(prefix="gsa_mutant_") as folder:
        try:
            _import_copy(trial.mutant, Path(folder))
            verdict = _judge(trial, Path(folder) / "cache")
        except Exception as error:
            verdict = Verdict("not valid", _said(error))
        answer.send(verdict)


def _import_copy(mutant: Mutant, folder: Path) -> None:
    """Make a copy of the compiler with the fault in it what ``import gsa_dsl`` finds."""
    for name in ("gsa_dsl", "templates"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    path = folder / mutant.file
    path.write_text(mutant.apply((ROOT / mutant.file).read_text(encoding="utf-8")), encoding="utf-8")
    sys.path.insert(0, str(folder))
    import gsa_dsl

    if folder.resolve() not in Path(gsa_dsl.__file__).resolve().parents:
        raise RuntimeError("gsa_dsl was imported before its copy could be")


def _judge(trial: Trial, cache: Path) -> Verdict:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    reached = 0
    for subject, backend in _fitting(trial):
        if reached == trial.most:
            break
        reached += 1
        _end_after(trial.seconds)
        verdict = _verify(subject, backend, cache)
        if verdict is not None:
            return verdict
    return Verdict("survived" if reached else "not reached")


def _end_after(seconds: int) -> None:
    """Have the system end this process, and with it a loop without end, after so much more processor time.

    Not after so much time: a busy machine kills nothing.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, resource.RLIM_INFINITY))


def _fitting(trial: Trial) -> Iterator[tuple[Subject, str]]:
    """The specs, with a backend, for which another module is generated than without the fault."""
    for backend in trial.mutant.dialects:
        for subject in trial.subjects:
            if trial.unchanged is None or unchanged(trial.unchanged, subject, backend) != generate(subject, backend):
                yield subject, backend


def unchanged(folder: str, subject: Subject, backend: str) -> str:
    return module_path(folder, subject, backend).read_text(encoding="utf-8")


def module_path(folder: str, subject: Subject, backend: str) -> Path:
    return Path(folder) / f"{subject.name}_{backend}.py"


def generate(subject: Subject, backend: str) -> str:
    """The module of ``subject``; ``backend`` as for ``gsa_dsl.compile``."""
    from gsa_dsl.compiler import generate
    from gsa_dsl.diagnostics.span import Source
    from gsa_dsl.testing.tiles import small_tiles

    shape = subject.heads, subject.kv_heads, subject.head_dim, subject.value_dim
    config = small_tiles(subject.heads, subject.kv_heads)
    dialect = "torch" if backend == "torch" else "triton"
    return generate(Source("<string>", subject.text), {}, shape, config, dialect)


def _verify(subject: Subject, backend: str, cache: Path) -> Verdict | None:
    """How the fault shows on ``subject``, or None if it does not."""
    import gsa_dsl
    from gsa_dsl.testing.tiles import small_tiles
    from gsa_dsl.testing.verify import verify

    sizes = {name: getattr(subject, name) for name in ("heads", "kv_heads", "head_dim", "value_dim")}
    config = small_tiles(subject.heads, subject.kv_heads)
    compiled = gsa_dsl.compile(subject.text, **sizes, backend=backend, config=config, cache_dir=cache)
    at = f"{subject.name} on {backend}"
    try:
        report = verify(compiled, fail_fast=True)
    except Exception as error:
        return Verdict("killed", _said(error), at)
    if report.ok:
        return None
    first = report.failures[0]
    return Verdict("killed", first.quantity, f"{at}, {first.case}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:120]
