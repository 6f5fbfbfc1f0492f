"""Tuned configurations in a file: safe with many processes at once, and nothing that cannot be read is ever lost.

Readers take no lock, since a file is only ever replaced whole. Writers read, merge and replace under a lock file. A
file that is no store is renamed and a warning says so; an entry that cannot be read is kept as it is.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime import loader
from gsa_dsl.tuning.key import ADVISORY, Key
from gsa_dsl.tuning.space import config_from_json, config_to_json

log = logging.getLogger("gsa_dsl")

FORMAT = "gsa_dsl tuning 1"
SHIPPED = Path(__file__).with_name("shipped")


@dataclass(frozen=True, slots=True)
class Entry:
    """What was found for a key. Times in milliseconds by phase ('forward', 'training'), taken at ``length`` tokens.

    Without ``default`` the planner's configuration did not run. ``ended`` says why the search was over: 'exhausted'
    (everything was tried), 'budget', or 'interrupted'.
    """

    key: Key
    config: KernelConfig
    default: Mapping[str, float]
    best: Mapping[str, float]
    length: int
    overlap: float | None
    tried: int
    failed: int
    ended: str

    @property
    def gain(self) -> float:
        """Geometric mean over the phases of the default's time over this one's; 1 where nothing was measured."""
        ratios = [self.default[phase] / self.best[phase] for phase in self.best if self.default.get(phase)]
        product = 1.0
        for ratio in ratios:
            product *= ratio
        return float(product ** (1 / len(ratios))) if ratios else 1.0

    def to_json(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"key": self.key.to_json(), "config": config_to_json(self.config)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """Raises ValueError, TypeError or KeyError for what is no entry of this version."""
        key, config = Key.from_json(data["key"]), config_from_json(data["config"])
        return cls(**{**data, "key": key, "config": config})


@dataclass(frozen=True, slots=True)
class Contents:
    """A file's entries by key, and what else was in its list, as it was."""

    entries: Mapping[Key, Entry]
    unread: tuple[Any, ...] = ()


class NotAStore(ValueError):
    """The text is no store."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which a stored key is not the one looked for."""

    field: str
    wanted: object
    stored: object


@dataclass(frozen=True, slots=True)
class Store:
    """The store in the file ``path``; ``Store.of_user()`` is the user's."""

    path: Path
    shipped: Path | None = field(default=SHIPPED)

    @classmethod
    def of_user(cls, cache_dir: str | os.PathLike[str] | None = None) -> Store:
        """The store in the cache folder: the argument, else ``$GSA_DSL_CACHE_DIR``, else the user's."""
        return cls(loader.cache_folder(cache_dir) / "tuning" / "store.json")

    def entries(self) -> Mapping[Key, Entry]:
        """What the user's file holds; a file that is no store is set aside."""
        try:
            return _read(self.path).entries
        except NotAStore:
            with _locked(self.path):
                _set_aside_if_bad(self.path)
            return {}

    def shipped_entries(self) -> Mapping[Key, Entry]:
        """What came with the package."""
        found: dict[Key, Entry] = {}
        if self.shipped is not None and self.shipped.is_dir():
            for path in sorted(self.shipped.glob("*.json")):
                found |= _read(path).entries
        return found

    def get(self, key: Key) -> Entry | None:
        """The user's entry for exactly this key."""
        return self.entries().get(key)

    def put(self, entries: Iterable[Entry]) -> None:
        """Add entries, or replace those of the same keys. Raises OSError that says how to choose another folder."""
        new = {entry.key: entry for entry in entries}
        with _locked(self.path):
            old = _set_aside_if_bad(self.path)
            loader.keep(self.path, dump(Contents({**old.entries, **new}, old.unread)))

    def why(self, key: Key) -> tuple[Difference, ...] | None:
        """In what the stored key most like ``key`` differs from it: nothing for a hit, None where nothing is stored."""
        keys = [*self.entries(), *self.shipped_entries()]
        if not keys:
            return None
        return min((differences(key, other) for other in keys), key=lambda found: (_weight(found), len(found)))


def differences(wanted: Key, stored: Key) -> tuple[Difference, ...]:
    """Field by field."""
    pairs = ((f.name, getattr(wanted, f.name), getattr(stored, f.name)) for f in fields(Key))
    return tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2])


def _weight(found: tuple[Difference, ...]) -> int:
    """What is asked for counts more than where: another spec is a further miss than another driver."""
    about = ("spec", "heads", "kv_heads", "head_dim", "dtype")
    return sum(100 if one.field in about else 1 if one.field in ADVISORY else 10 for one in found)


def dump(contents: Contents) -> str:
    """The text of a store; the same entries give the same text."""
    entries = sorted(contents.entries.values(), key=lambda entry: json.dumps(entry.to_json(), sort_keys=True))
    data = {"format": FORMAT, "entries": [*(entry.to_json() for entry in entries), *contents.unread]}
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def parse(text: str) -> Contents:
    """The inverse of :func:`dump`. Raises NotAStore for anything else."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise NotAStore(f"not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("entries"), list):
        raise NotAStore(f"not in the format {FORMAT!r}")
    entries: dict[Key, Entry] = {}
    unread = []
    for item in data["entries"]:
        try:
            entry = Entry.from_json(item)
        except (ValueError, TypeError, KeyError):
            unread.append(item)
        else:
            entries[entry.key] = entry
    return Contents(entries, tuple(unread))


def _read(path: Path) -> Contents:
    """The contents of a file, nothing if there is none; parsed once while it does not change."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return Contents({})
    return _read_once(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)


@lru_cache(maxsize=16)
def _read_once(path: Path, changed: int, size: int, inode: int) -> Contents:
    try:
        return parse(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NotAStore(f"not UTF-8: {error}") from error
    except FileNotFoundError:
        return Contents({})


def _set_aside_if_bad(path: Path) -> Contents:
    """The contents; a file that is no store is renamed, never removed. To be called under the lock."""
    try:
        return _read(path)
    except NotAStore as error:
        number = 1
        while (aside := path.with_name(f"{path.name}.bad{number}")).exists():
            number += 1
        path.rename(aside)
        log.warning("gsa_dsl: %s is no store of tuned configurations (%s); it is now %s", path, error, aside.name)
        return Contents({})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process that holds it."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=60)
        lock.acquire()
    except OSError as error:
        what = f"cannot write tuned configurations to {path.parent} ({error.strerror or error})"
        raise OSError(error.errno, f"{what}; choose another folder with ${loader.CACHE_VARIABLE}") from error
    try:
        yield
    finally:
        lock.release()
