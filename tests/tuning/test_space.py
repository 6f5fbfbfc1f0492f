"""The space of a plan, and what is left of it without a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gsa_dsl.codegen.emit import emit_triton, launches
from gsa_dsl.options import KernelConfig, Launch
from gsa_dsl.passes.schedule import gathers, kv_outer
from gsa_dsl.runtime.targets import KernelReport
from gsa_dsl.tuning import space as spaces
from gsa_dsl.tuning.estimate import Limits, work
from gsa_dsl.tuning.prune import Survivors, by_compiling, by_estimate, promising_tiles, unfit
from gsa_dsl.tuning.space import (
    BY_KEY,
    GROUPS,
    Axis,
    Space,
    choice_of,
    config_from_json,
    config_to_json,
    difference,
    space_of,
    with_choice,
)
from gsa_dsl.tuning.tuner import promising
from tests.codegen.generated import EXAMPLES, plan_of_example
from tests.tuning.fakes import SPACE, everything

H100 = Limits(227 << 10)


def space(name: str, shape: tuple[int, int, int] = (64, 4, 128)) -> Space:
    return space_of(plan_of_example(name, shape))


@pytest.mark.parametrize("name", EXAMPLES)
def test_groups_follow_the_kernels(name: str) -> None:
    plan = plan_of_example(name, (64, 4, 128))
    made = space_of(plan)
    kernels = set(launches(plan))
    # Lists of tokens have a kernel of keys for the warm-up alone.
    idle = {BY_KEY} if plan.listed and not kv_outer(plan) else set()
    assert {group.name for group in made.groups} == {g.name for g in GROUPS if kernels & set(g.kernels)} - idle
    fields = {axis.field for axis in made.whole}
    assert ("gather" in fields, "kv_outer" in fields) == (gathers(plan), kv_outer(plan))
    assert ("workspace_mib" in {axis.field for axis in made.whole}) is plan.listed
    for group in made.groups:
        assert choice_of(made.base, (axis.field for axis in group.axes)) in made.choices(group)
        assert choice_of(made.base, group.shared) in made.slots(group)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_kernel_is_timed_and_every_field_that_it_reads_can_be_chosen(name: str) -> None:
    plan = plan_of_example(name, (64, 4, 128))
    made = space_of(plan)
    timed = [kernel for group in made.groups for kernel in group.kernels]
    # Gates before the attention only move bytes, and read no field that has an axis.
    gates = {f"{gate.target}_gate_{way}_kernel" for gate in plan.input_gates for way in ("fwd", "bwd")}
    assert set(launches(plan)) - set(timed) == gates
    assert len(timed) == len(set(timed))
    axes = {axis.field: axis for part in (made.shared, made.whole, *(g.axes for g in made.groups)) for axis in part}
    own, kernels = launches(plan), emit_triton(plan)
    launched = ("attend", "gathered", "backward", "by_key", "score", "threshold", "narrow", "lists")
    for field in (*launched, "guess", "keep", "settle", "loss"):
        moved = with_choice(plan.config, ((f"{field}.warps", 16),))
        used = {kernel for kernel, options in launches(replace(plan, config=moved)).items() if options != own[kernel]}
        idle = field == "by_key" and plan.listed and not kv_outer(plan)
        assert (f"{field}.warps" in axes) is (bool(used) and not idle), field
        assert used <= set(timed)
    tiles = ("tile", "block_keys", "backward_keys", "backward_rows", "gather_keys", "gather", "kv_outer")
    for field in (*tiles, "score_rows", "score_keys", "strip", "list_keys", "sample"):
        if field in axes and len(axes[field].values) > 1:
            other = next(value for value in axes[field].values if value != getattr(plan.config, field))
            assert emit_triton(replace(plan, config=replace(plan.config, **{field: other}))) != kernels, field


def test_where_rows_are_surveyed_whole_calls_decide_from_which_on() -> None:
    assert {axis.field for axis in space("gsa").whole} == {"sample", "workspace_mib", "gather"}
    assert {axis.field for axis in space("msa").whole} == {"workspace_mib"}
    (threshold,) = (group for group in space("msa").groups if group.name == "threshold")
    assert "sample" in {axis.field for axis in threshold.axes}


@pytest.mark.parametrize("shape", [(64, 4, 128), (4, 4, 64), (6, 1, 80), (128, 2, 256)], ids=str)
def test_tiles_fit_matrix_instructions(shape: tuple[int, int, int]) -> None:
    made = space("dense", shape)
    tiles = next(axis.values for axis in made.shared if axis.field == "tile")
    assert made.base.tile in tiles
    assert all(16 <= tile * made.group_pad <= 256 for tile in tiles)
    assert len(tiles) >= 2


def test_sizes_count_what_they_say() -> None:
    assert SPACE.size == 3 * 2 * (6 * 2 * 6) * 3
    assert SPACE.to_measure == 3 * 6 + 6 * 2 + 1 * 6
    assert sum(map(len, everything(SPACE).values())) == SPACE.to_measure


def test_choices_and_json_go_there_and_back() -> None:
    config = with_choice(KernelConfig(), (("tile", 4), ("attend.warps", 8), ("attend.stages", 3)))
    assert config == KernelConfig(tile=4, attend=Launch(8, 3))
    assert choice_of(config, ("tile", "attend.stages")) == (("tile", 4), ("attend.stages", 3))
    assert config_from_json(config_to_json(config)) == config
    assert difference(config, KernelConfig()) == "tile=4, attend=(8, 3)"
    assert difference(config, config) == "the default"


@pytest.mark.parametrize("data", [{"tile": 3}, {"tile": 8, "typo": 1}, {"attend": [4]}, {"attend": [1, 2, 3]}], ids=str)
def test_a_configuration_that_makes_no_sense_is_refused(data: dict[str, object]) -> None:
    if data == {"attend": [4]}:
        assert config_from_json(data).attend == Launch(4)
        return
    with pytest.raises((TypeError, ValueError)):
        config_from_json(data)


def test_the_digest_follows_what_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = spaces.space_digest()
    assert spaces.space_digest() == before
    monkeypatch.setattr(spaces, "WORKSPACE", Axis("workspace_mib", (64,)))
    assert spaces.space_digest() != before


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("limit", [64, 99, 163, 227])
def test_the_planners_choice_survives_the_estimate(name: str, limit: int) -> None:
    made = space(name)
    left = by_estimate(made, Limits(limit << 10), itemsize=2, overlap=0.9)
    for group in made.groups:
        slot = (group.name, choice_of(made.base, group.shared))
        assert left.kept[slot][0] == choice_of(made.base, (axis.field for axis in group.axes))
    assert left.count + len(left.dropped) == made.to_measure


def test_a_smaller_gpu_keeps_less_and_every_loss_has_a_reason() -> None:
    made = space("gsa")
    counts = []
    for limit in (64, 99, 163, 227):
        left = by_estimate(made, Limits(limit << 10), itemsize=2, overlap=0.9)
        counts.append(left.count)
        assert all(one.reason and one.kind in ("too large", "too much work") for one in left.dropped)
        assert sum(count for _, _, count in left.reasons()) == len(left.dropped)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] < made.to_measure
    wide = by_estimate(made, H100, itemsize=4, overlap=0.9)
    assert wide.count < counts[-1]


def test_the_model_prefers_large_tiles_where_choices_overlap() -> None:
    made = space("gsa")
    assert work(made, 8, 0.95) < work(made, 1, 0.95)
    assert work(made, 8, 0.0) > work(made, 4, 0.0)
    assert work(made, 8, None) < work(made, 8, 0.9)
    assert promising_tiles(made, 0.9)[0] == made.base.tile
    assert set(promising_tiles(made, 0.9)) == {1, 2, 4, 8, 16}


def test_combinations_begin_with_the_planners() -> None:
    made = space("gsa")
    left = by_estimate(made, H100, itemsize=2, overlap=0.93)
    first, *others = promising(made, left, 0.93)
    assert dict(first) == {"tile": made.base.tile, "backward_keys": made.base.backward_keys}
    assert 1 not in {dict(one)["tile"] for one in others}
    assert promising(SPACE, Survivors(everything(SPACE), ()), 0.9)


@pytest.mark.parametrize(
    ("shared", "spilled", "kind"),
    [(100 << 10, 0, None), (228 << 10, 0, "too much shared memory"), (1 << 10, 5000, "spills registers")],
)
def test_what_the_compiler_says_decides(shared: int, spilled: int, kind: str | None) -> None:
    why = unfit(KernelReport("attend_fwd_kernel", "", "sm_90", shared, (), 255, spilled))
    assert (None if why is None else why[0]) == kind


@pytest.mark.slow
def test_compiling_drops_what_does_not_fit() -> None:
    plan = plan_of_example("sliding_sink", (64, 4, 128))
    made = space_of(plan)
    attend = next(group for group in made.groups if group.name == "attend")
    slot = ("attend", (("tile", 8),))
    small = (("block_keys", 32), ("attend.warps", 8), ("attend.stages", 2))
    large = (("block_keys", 128), ("attend.warps", 8), ("attend.stages", 4))
    kept = dict.fromkeys(everything(made), ()) | {slot: (small, large)}
    assert attend in made.groups
    left, unseen = by_compiling(
        plan, made, Survivors(kept, ()), "sm_89", dtype="bf16", jobs=1, seconds=300.0
    )  # fmt: skip
    assert unseen == 0
    assert left.kept[slot] == (small,)
    (fallen,) = left.dropped
    assert (fallen.choice, fallen.kind) == (large, "too much shared memory")
    assert "attend_fwd_kernel needs" in fallen.reason
