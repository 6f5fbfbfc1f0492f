"""The store: nothing is lost, whatever else is in the file and however many processes write."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gsa_dsl.options import KernelConfig, Launch
from gsa_dsl.tuning.key import Key, driver_version, length_bucket, overlap_bucket, spec_digest
from gsa_dsl.tuning.lookup import lookup
from gsa_dsl.tuning.space import space_digest
from gsa_dsl.tuning.store import SHIPPED, Contents, NotAStore, Store, dump, parse
from tests.codegen.generated import ROOT
from tests.tuning.entries import entry, key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store with nothing shipped."""
    return Store(tmp_path / "tuning" / "store.json", shipped=None)


def test_what_is_put_is_found(store: Store) -> None:
    config = KernelConfig(tile=16, attend=Launch(8, 3))
    made = entry(key(), config=config)
    store.put([made])
    assert store.get(key()) == made
    assert store.get(key(32768)) is None
    again = entry(key(), tried=99)
    store.put([again, entry(key(32768))])
    assert store.get(key()) == again
    assert len(store.entries()) == 2


def test_a_text_is_the_same_for_the_same_entries() -> None:
    one, two = entry(key()), entry(key(32768))
    text = dump(Contents({one.key: one, two.key: two}))
    assert text == dump(Contents({two.key: two, one.key: one}))
    assert parse(text).entries == {one.key: one, two.key: two}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": "something else", "entries": []}', '{"format": "gsa_dsl tuning 1"}', "\0\1\2"],
    ids=repr,
)
def test_a_file_that_is_no_store_is_set_aside(store: Store, text: str, caplog: pytest.LogCaptureFixture) -> None:
    store.path.parent.mkdir()
    store.path.write_text(text)
    with caplog.at_level(logging.WARNING, logger="gsa_dsl"):
        assert store.entries() == {}
    aside = store.path.with_name("store.json.bad1")
    assert aside.read_text() == text
    assert "is no store of tuned configurations" in caplog.text
    assert "store.json.bad1" in caplog.text
    store.path.write_text(text)
    store.put([entry(key())])
    assert store.path.with_name("store.json.bad2").read_text() == text
    assert store.get(key()) is not None


def test_bytes_that_are_no_text_are_set_aside_too(store: Store) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(b"\xff\xfe\x00")
    assert store.entries() == {}
    assert store.path.with_name("store.json.bad1").read_bytes() == b"\xff\xfe\x00"


def test_an_entry_of_another_version_is_kept_as_it_is(store: Store) -> None:
    foreign = {"key": {"spec": "of tomorrow"}, "config": {"warp_specialised": True}}
    store.put([entry(key())])
    data = json.loads(store.path.read_text())
    data["entries"].append(foreign)
    store.path.write_text(json.dumps(data))
    assert set(store.entries()) == {key()}
    store.put([entry(key(32768))])
    assert set(store.entries()) == {key(), key(32768)}
    assert foreign in json.loads(store.path.read_text())["entries"]


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"tile": 3}},
        {"config": {"tile": 8, "unknown": 1}},
        {"key": {}},
        {"default": None, "surplus": 1},
    ],
    ids=str,
)
def test_an_entry_that_makes_no_sense_is_not_used(change: dict[str, object]) -> None:
    data = {"format": "gsa_dsl tuning 1", "entries": [entry(key()).to_json() | change]}
    contents = parse(json.dumps(data))
    assert contents.entries == {}
    assert len(contents.unread) == 1


WRITE = """
import sys
from pathlib import Path
from gsa_dsl.tuning.store import Store
from tests.tuning.entries import entry, key
store, number = Store(Path(sys.argv[1]), None), int(sys.argv[2])
for turn in range(5):
    store.put([entry(key(heads=number * 100 + turn))])
    store.entries()
"""


def test_many_processes_write_and_nothing_is_lost(store: Store) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(store.path), str(number)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for number in range(6)
    ]
    for writer in writers:
        assert writer.communicate(timeout=300)[1] == ""
    assert {found.heads for found in store.entries()} == {n * 100 + turn for n in range(6) for turn in range(5)}
    assert not list(store.path.parent.glob("*.tmp"))
    assert not list(store.path.parent.glob("*.bad*"))


def test_a_second_look_takes_no_time(store: Store) -> None:
    store.put([entry(key(heads=number)) for number in range(500)])
    assert store.get(key(heads=7)) is not None
    begun = time.perf_counter()
    assert store.get(key(heads=499)) is not None
    assert time.perf_counter() - begun < 0.05


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"choose another folder with \$GSA_DSL_CACHE_DIR"):
        Store(tmp_path / "file" / "store.json").put([entry(key())])


def test_a_miss_is_explained_field_by_field(store: Store) -> None:
    assert store.why(key()) is None
    store.put([entry(key()), entry(key(spec="another", length=8192))])
    assert store.why(key()) == ()
    found = store.why(key(32768, driver="999", dtype="bfloat16"))
    assert found is not None
    assert [(one.field, one.wanted, one.stored) for one in found] == [
        ("length", 32768, 8192),
        ("driver", "999", "550.54.15"),
    ]
    other = store.why(key(gpu="NVIDIA A100", capability="8.0"))
    assert other is not None
    assert [one.field for one in other] == ["gpu", "capability"]


def test_every_field_of_a_key_counts(store: Store) -> None:
    store.put([entry(key())])
    for name, value in key().to_json().items():
        changed = {name: value * 2 if isinstance(value, int) else 0.0 if isinstance(value, float) else "other"}
        assert store.get(replace(key(), **changed)) is None, name
        why = store.why(replace(key(), **changed))
        assert why is not None
        assert [one.field for one in why] == [name]


@pytest.mark.parametrize(("length", "bucket"), [(1, 1), (2, 2), (3, 4), (8192, 8192), (8193, 16384)])
def test_length_buckets(length: int, bucket: int) -> None:
    assert length_bucket(length) == bucket


@pytest.mark.parametrize(("overlap", "bucket"), [(-1.0, 0.0), (0.0, 0.0), (0.3, 0.25), (0.93, 0.9), (1.0, 0.9)])
def test_overlap_buckets(overlap: float, bucket: float) -> None:
    assert overlap_bucket(overlap) == bucket


def test_a_spec_is_its_words() -> None:
    digest = spec_digest("attention a {\n  causal # all of it\n}\n", {"k": 1, "m": 2})
    assert digest == spec_digest("attention a { causal }", {"m": 2, "k": 1})
    assert digest != spec_digest("attention a { causal }", {"k": 1})
    assert digest != spec_digest("attention b { causal }", {"k": 1, "m": 2})


def test_the_driver(tmp_path: Path) -> None:
    file = tmp_path / "version"
    assert driver_version(file) == "unknown"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n")
    assert driver_version(file) == "550.54.15"
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")
    assert driver_version(file) == "580.65.06"


def test_a_call_takes_the_nearest_length_within_reach(store: Store) -> None:
    short, long = KernelConfig(tile=4), KernelConfig(tile=16)
    store.put([entry(key(8192), config=short), entry(key(131072), config=long)])

    def at(length: int) -> KernelConfig | None:
        chosen = lookup(key(length), store)
        return None if chosen is None else chosen.config

    assert [at(n) for n in (1024, 2048, 8192, 16384)] == [None, short, short, short]
    assert [at(n) for n in (32768, 65536, 131072, 524288, 1 << 20)] == [long, long, long, long, None]


def test_a_call_takes_the_typical_overlap(store: Store) -> None:
    store.put([entry(key(overlap=low), config=KernelConfig(tile=tile)) for low, tile in ((0.0, 2), (0.75, 4))])
    chosen = lookup(key(), store)
    assert chosen is not None
    assert chosen.config.tile == 4
    assert chosen.origin == f"tuned at 8192 tokens on NVIDIA H100 80GB HBM3, from {store.path}"


def test_ones_own_results_come_before_shipped_ones(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for_other_software = entry(key(driver="1", torch="2", gsa_dsl="3", triton="3.6.9"), config=KernelConfig(tile=2))
    (shipped / "h100.json").write_text(dump(Contents({for_other_software.key: for_other_software})))
    store = Store(tmp_path / "store.json", shipped)
    chosen = lookup(key(), store)
    assert chosen is not None
    assert (chosen.config.tile, "shipped with gsa_dsl" in chosen.origin) == (2, True)
    assert lookup(key(triton="3.7.0"), store) is None
    assert lookup(key(gpu="another"), store) is None
    store.put([entry(key(), config=KernelConfig(tile=4))])
    chosen = lookup(key(), store)
    assert chosen is not None
    assert chosen.config.tile == 4
    # One's own must have been found with the very same software.
    own = Store(tmp_path / "store.json", None)
    assert lookup(key(torch="2.12"), own) is None


def test_what_is_shipped_can_be_read() -> None:
    for path in SHIPPED.glob("*.json"):
        contents = parse(path.read_text(encoding="utf-8"))
        assert contents.entries, path
        assert not contents.unread, path


def test_what_is_shipped_is_for_the_examples_and_the_space_of_today() -> None:
    """Where what may be chosen has changed nobody would find these results, nor learn that they are gone."""
    specs = {spec_digest(path.read_text(encoding="utf-8"), {}) for path in (ROOT / "examples").glob("*.gsa")}
    for path in SHIPPED.glob("*.json"):
        for shipped in parse(path.read_text(encoding="utf-8")).entries:
            assert shipped.spec in specs, path
            assert shipped.space == space_digest(), path


def test_another_format_is_refused() -> None:
    with pytest.raises(NotAStore, match="not in the format"):
        parse('{"format": "gsa_dsl tuning 2", "entries": []}')


def test_a_key_with_a_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError, match="heads of a key"):
        Key.from_json(key().to_json() | {"heads": "64"})
