"""Generated modules on disk: Triton needs real files, users want to read them, a second compile should cost nothing."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from gsa_dsl.paths import templates_dir

CACHE_VARIABLE = "GSA_DSL_CACHE_DIR"


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Where generated modules are kept: the argument, else ``$GSA_DSL_CACHE_DIR``, else the user's cache folder."""
    if given is not None:
        return Path(given).expanduser()
    variable = os.environ.get(CACHE_VARIABLE)
    if variable:
        return Path(variable).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("gsa_dsl"))


@cache
def compiler_fingerprint() -> str:
    """A digest of the compiler's own files by name, size and time: an edited template or pass makes every cached module
    stale. Contents are not read, since every compile from the cache would wait for it.
    """
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for root in (package, templates_dir()):
        for facts in sorted(_facts(root)):
            digest.update(facts.encode())
    return digest.hexdigest()


def _facts(folder: str | Path) -> Iterator[str]:
    """A line for each of the compiler's files under ``folder``."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _facts(entry.path)
            elif entry.name.endswith((".py", ".jinja", ".lark")):
                facts = entry.stat()
                yield f"{entry.name} {facts.st_size} {facts.st_mtime_ns}\n"


def write_atomically(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write ``path`` whole or not at all, also when several processes do so at once; ``mode``: its permissions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        # A temporary file is private to its owner; unless told, the result has the mode any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask if mode is None else mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def keep(path: Path, text: str) -> None:
    """Write a generated module into the cache. Raises OSError that says how to choose another folder."""
    try:
        write_atomically(path, text)
    except OSError as error:
        what = f"cannot write generated modules to {path.parent} ({error.strerror or error})"
        raise OSError(error.errno, f"{what}; choose another folder with cache_dir= or ${CACHE_VARIABLE}") from error


@cache
def load_module(path: Path, *, interpret: bool = False) -> ModuleType:
    """Import the generated file at ``path``; with ``interpret`` its kernels run in Triton's interpreter on the CPU.

    A process loads a file once: its name holds a digest of its content, and Triton keeps compiled kernels by module.
    The module is found by its name, as ``torch.compile`` looks for the globals of what it traces.
    """
    name = f"gsa_dsl_generated_{path.stem}{'_interpreted' if interpret else ''}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if not interpret:
        spec.loader.exec_module(module)
        _fix_keys(module)
        return module
    from gsa_dsl.runtime.interpreter import interpreted_decorators, make_interpreted

    with interpreted_decorators():
        spec.loader.exec_module(module)
    make_interpreted(module)
    return module


def _fix_keys(module: ModuleType) -> None:
    """Have Triton compute the keys of compiled kernels in the order of definition, whatever is launched first.

    The key of a kernel depends on whether those of the functions it calls were computed before (Triton 3.6 merges their
    globals only then): processes that launch in different orders would each compile the same kernel.
    """
    for value in vars(module).values():
        getattr(value, "cache_key", None)  # computed at the first look, and kept
