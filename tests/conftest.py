"""What all tests share: golden files, and the marks that leave tests out where they cannot run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

# Before torch is imported: where other workers have the cores, threads that wait for each other take twice as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
Golden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write what the code produces into the golden files instead of comparing (refused where CI is set)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-goldens") and os.environ.get("CI"):
        raise pytest.UsageError("goldens are not updated in CI: run with --update-goldens at home and review the diff")


def _with_room(call: Callable[[], None]) -> None:
    call()


# Python gives back a chunk of its stack with the last frame in it: a loop whose calls just begin one has it mapped anew
# each time, which was a third of what some interpreted kernels took. A frame so large has room enough behind it.
_with_room.__code__ = _with_room.__code__.replace(co_stacksize=1 << 16)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.setup = partial(_with_room, item.setup)  # type: ignore[method-assign]
        item.runtest = partial(_with_room, item.runtest)  # type: ignore[method-assign]
    marked = [item for item in items if item.get_closest_marker("gpu") is not None]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """``golden(path, text)``: ``text`` must equal the file exactly; with ``--update-goldens`` the file is written."""
    update = bool(request.config.getoption("--update-goldens"))

    def compare(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
            return
        if not path.exists():
            pytest.fail(f"{path} does not exist; write it with --update-goldens", pytrace=False)
        expected = path.read_bytes().decode("utf-8")
        if expected != text:
            name = str(path.relative_to(ROOT))
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), f"{name} (golden)", f"{name} (now)", lineterm=""
            )
            diff = "\n".join(lines) or "the line ends differ"
            pytest.fail(f"{diff}\n\nif the change is meant: pytest --update-goldens", pytrace=False)

    return compare
