"""The search on a machine whose times are known, with a clock of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.found import Found, Progress
from gsa_dsl.tuning.job import Failure, Outcome
from gsa_dsl.tuning.knowledge import Knowledge
from gsa_dsl.tuning.prune import Slot, Survivors
from gsa_dsl.tuning.search import search
from gsa_dsl.tuning.space import Choice, choice_of
from tests.tuning.fakes import BEST, SPACE, FakeBench, everything, kernels_of, milliseconds

ALL = Survivors(everything(SPACE), ())


def run(bench: FakeBench, seconds: float = 600.0, lengths: tuple[int, ...] = (8192,), **options: object) -> Found:
    return search(
        SPACE,
        ALL,
        SPACE.combinations(),
        bench,
        lengths=lengths,
        seconds=seconds,
        clock=bench.clock,
        wave=4,
        abreast=4,
        **options,  # type: ignore[arg-type]
    )


def test_it_finds_the_best_of_all_without_trying_all() -> None:
    bench = FakeBench()
    found = run(bench)
    assert found.config == BEST
    assert found.ended == "exhausted"
    assert found.gain > 1.3
    assert not found.failed
    assert len(set(bench.checked)) < 40 < SPACE.size
    assert found.tried == len(set(bench.checked))


def timed(bench: FakeBench) -> dict[Slot, set[Choice]]:
    """The choices of each slot that were timed in some configuration."""
    found: dict[Slot, set[Choice]] = {slot: set() for slot in ALL.kept}
    for config, _ in bench.timed:
        for group in SPACE.groups:
            own = choice_of(config, (axis.field for axis in group.axes))
            found[group.name, choice_of(config, group.shared)].add(own)
    return found


def test_every_choice_of_every_slot_is_tried() -> None:
    bench = FakeBench()
    run(bench)
    assert timed(bench) == {slot: set(choices) for slot, choices in ALL.kept.items()}


@pytest.mark.parametrize("seconds", [8.0, 15.0, 30.0, 60.0, 120.0])
@pytest.mark.parametrize("lengths", [(8192,), (8192, 32768)])
def test_the_budget_is_kept(seconds: float, lengths: tuple[int, ...]) -> None:
    bench = FakeBench()
    found = run(bench, seconds, lengths)
    assert bench.now <= 1.1 * seconds
    assert bench.cut_off <= 1 or seconds < 30  # once the pace is known, nothing is begun that does not fit
    assert found.gain >= 1.0
    assert found.length in lengths


def test_a_larger_budget_finds_no_less() -> None:
    gains = [run(FakeBench(), seconds).gain for seconds in (15.0, 40.0, 600.0)]
    assert gains == sorted(gains)
    assert gains[-1] > gains[0]


def test_the_last_word_is_had_at_the_real_length() -> None:
    bench = FakeBench()
    found = run(bench, lengths=(8192, 32768))
    assert (found.length, found.config) == (32768, BEST)
    short = [config for config, length in bench.timed if length == 8192]
    long = [config for config, length in bench.timed if length == 32768]
    assert len(set(long)) < len(set(short))


def test_a_kernel_that_fails_costs_only_its_own_choice() -> None:
    why = Failure("out of resources", "shared memory", "attend_fwd_kernel")
    bench = FakeBench({"c.block_keys == 128": why})
    found = run(bench)
    assert found.config.block_keys == 64
    assert (found.config.tile, found.config.score_rows, found.config.score_keys) == (16, 128, 128)
    good = {slot: {c for c in choices if ("block_keys", 128) not in c} for slot, choices in ALL.kept.items()}
    assert timed(bench) == good
    assert 1 <= len(found.failed) <= 6  # two choices in each of three slots
    assert all(config.block_keys == 128 and reason == why for config, reason in found.failed)


def test_a_failure_without_a_name_is_taken_apart() -> None:
    bench = FakeBench({"c.score_rows == 128": Failure("wrong result", "output off")})
    found = run(bench)
    assert found.config.score_rows == 64
    assert (found.config.tile, found.config.block_keys, found.config.score_keys) == (16, 128, 128)
    assert all(config.score_rows == 128 for config, _ in found.failed)
    assert timed(bench) == {s: {c for c in x if ("score_rows", 128) not in c} for s, x in ALL.kept.items()}


def test_a_shared_value_that_never_works_is_given_up() -> None:
    bench = FakeBench({"c.tile == 16": Failure("crashed", "the process died")})
    found = run(bench)
    assert found.config.tile == 8
    assert found.config.block_keys == 128


def test_what_is_not_faster_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tuning import fakes

    def alike(config: KernelConfig, length: int) -> dict[str, float]:
        return dict.fromkeys(milliseconds(BEST, length), 1.0 if config == SPACE.base else 0.995)

    monkeypatch.setattr(fakes, "milliseconds", alike)
    monkeypatch.setattr(fakes, "WASTE", 0.0)
    found = run(FakeBench())
    assert found.config == SPACE.base
    assert found.gain == 1.0


@pytest.mark.parametrize(("waste", "workspace"), [(1.0, 256), (3.0, 512), (-1.0, 128)])
def test_a_larger_workspace_must_be_worth_its_memory(
    monkeypatch: pytest.MonkeyPatch, waste: float, workspace: int
) -> None:
    """A few percent are not: it is kept for long sequences, where memory is what is short."""
    from tests.tuning import fakes

    monkeypatch.setattr(fakes, "WASTE", waste)
    found = run(FakeBench())
    assert found.config == replace(BEST, workspace_mib=workspace)


def test_a_default_that_fails_leaves_nothing_to_compare_with() -> None:
    bench = FakeBench({"True": Failure("crashed", "no GPU")})
    found = run(bench, seconds=60.0)
    assert len(bench.checked) <= 4  # the first wave
    assert found.default is None
    assert found.config == SPACE.base
    assert found.gain == 1.0


def test_a_default_too_large_for_the_gpu_is_replaced() -> None:
    bench = FakeBench({"c.tile == 8": Failure("out of resources", "shared memory", "attend_bwd_query_kernel")})
    found = run(bench)
    assert found.default is None
    assert found.best is not None
    assert found.config == BEST


def test_an_interruption_keeps_what_is_known() -> None:
    bench = FakeBench()
    seen: list[Progress] = []

    def stop(at: Progress) -> None:
        seen.append(at)
        if at.tried >= 12:
            raise KeyboardInterrupt

    found = run(bench, progress=stop)
    assert found.ended == "interrupted"
    assert found.tried >= 12
    assert found.gain > 1.0
    assert found.config != SPACE.base
    assert seen[-1].phase == "trying"
    assert [at.seconds for at in seen] == sorted(at.seconds for at in seen)


def test_progress_ends_with_the_gain() -> None:
    seen: list[Progress] = []
    found = run(FakeBench(), progress=seen.append)
    assert [at.phase for at in seen if at.phase != "trying"][-1] == "comparing"
    assert seen[-1].gain == pytest.approx(found.gain)


def asked(bench: FakeBench) -> list[str]:
    return [what for what, _, _ in bench.said]


def test_the_default_is_compiled_first_and_by_itself() -> None:
    bench = FakeBench()
    run(bench)
    first = ["prepare", "compile", "inputs ahead", "compile", "compile ahead", "check", "prove", "time"]
    assert asked(bench)[: len(first)] == first
    alone = [configs for what, configs, _ in bench.said[: len(first)] if what not in ("inputs ahead", "compile ahead")]
    assert set(alone) == {(SPACE.base,)}


def test_the_next_wave_is_compiled_while_one_is_checked_and_timed() -> None:
    bench = FakeBench()
    run(bench)
    waves = [configs for what, configs, _ in bench.said if what == "compile ahead"]
    assert max(map(len, waves)) == 4
    for wave in waves:
        begun = bench.said.index(next(one for one in bench.said if one[:2] == ("compile ahead", wave)))
        following = asked(bench)[begun + 1 :]
        # Nothing else is compiled before it was waited for; the wave before it is checked or timed meanwhile.
        meanwhile = following[: following.index("compile")] if "compile" in following else following
        assert "compile ahead" not in meanwhile
    assert asked(bench).count("check") >= len(waves) > 5
    overlapping = [asked(bench)[n + 1] for n, what in enumerate(asked(bench)) if what == "compile ahead"]
    assert overlapping.count("check") >= len(waves) - 4


def test_what_was_compiled_meanwhile_is_not_waited_for() -> None:
    bench = FakeBench()
    run(bench)
    waits = [
        after - before
        for (what, _, before), (_, _, after) in zip(bench.said, bench.said[1:], strict=False)
        if what == "compile"
    ]
    assert sum(wait > 0 for wait in waits) < len(waits) / 3


def test_a_wave_compiles_no_longer_than_it_may() -> None:
    slow, share = FakeBench(kernel_seconds=4.0), 0.1
    run(slow, 120.0)
    waves = [configs for what, configs, _ in slow.said if what == "compile ahead"]
    assert slow.now <= 1.1 * 120.0
    # Three kernels of 4 s are a wave's time; more configurations go together where they need fewer.
    kernels: set[tuple[object, ...]] = set()
    for wave in waves:
        new = {kernel for config in wave for kernel in kernels_of(config)} - kernels
        kernels |= new
        assert len(wave) == 1 or 4.0 * len(new) <= share * 120.0 + 4.0 * 3
    assert max(map(len, waves)) > 1


def test_only_what_is_proved_is_compared() -> None:
    bench = FakeBench()
    found = run(bench, lengths=(8192, 32768))
    compared = [configs for what, configs, _ in bench.said if what == "compare"]
    assert len(compared) == 2
    assert {config for configs in compared for config in configs} <= set(bench.proved)
    assert len(bench.proved) == len(set(bench.proved)) < len(set(bench.checked)) / 2
    assert found.config in bench.proved


def test_what_is_wrong_by_the_reference_is_never_chosen() -> None:
    why = Failure("wrong result", "output off")
    bench = FakeBench(unproved={"c.block_keys == 128 and c != base": why})
    found = run(bench)
    assert found.ended == "exhausted"
    # All finalists have it: the planner's choice is left, with the workspace that is best.
    assert found.config == replace(SPACE.base, workspace_mib=512)
    assert found.failed
    assert all(one == why and config.block_keys == 128 for config, one in found.failed)
    variant = FakeBench(unproved={"c.workspace_mib == 512": why})
    best = run(variant)
    assert best.config.workspace_mib == 256
    assert best.config.tile == BEST.tile
    assert [one for _, one in best.failed] == [why]


def test_a_default_that_is_wrong_ends_the_search() -> None:
    why = Failure("wrong result", "output off")
    bench = FakeBench(unproved={"c == base": why})
    found = run(bench)
    assert (found.config, found.default, found.best) == (SPACE.base, None, None)
    assert found.failed == ((SPACE.base, why),)
    assert not bench.timed


@pytest.mark.parametrize("right", [True, False])
def test_without_a_comparison_only_what_is_proved_is_chosen(right: bool) -> None:
    why = Failure("wrong result", "output off")
    bench = FakeBench(unproved={} if right else {"c != base": why})
    real = bench.time

    def time(configs: list[KernelConfig], *args: object, kernels: bool) -> list[Outcome]:
        if not kernels:
            return [Failure("no time", "") for _ in configs]
        return real(configs, *args, kernels=kernels)  # type: ignore[arg-type]

    bench.time = time  # type: ignore[method-assign, assignment]
    found = run(bench)
    assert found.default is not None
    assert (found.config != SPACE.base) is right
    assert found.config in bench.proved


def weighed(monkeypatch: pytest.MonkeyPatch, **weights: float) -> None:
    """Let the fake machine's kernels take other times."""
    from tests.tuning import fakes

    real = fakes.milliseconds

    def times(config: KernelConfig, length: int) -> dict[str, float]:
        return {kernel: time * weights.get(kernel, 1.0) for kernel, time in real(config, length).items()}

    monkeypatch.setattr(fakes, "milliseconds", times)


def scores(bench: FakeBench) -> list[tuple[int, int]]:
    """The distinct choices of the group "score", in the order in which they were timed."""
    return list(dict.fromkeys((config.score_rows, config.score_keys) for config, _ in bench.timed))


def test_a_cheap_group_is_tried_as_often_as_its_time_deserves(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, score_kernel=0.02)
    bench = FakeBench()
    bench.compile([SPACE.base], 100.0)  # one configuration alone is begun before times are known
    assert run(bench).ended == "exhausted"
    # The default's, one before any time was known, and the rest once the expensive groups have nothing left.
    costly = {slot: set(choices) for slot, choices in ALL.kept.items() if slot[0] == "attend"}
    early = FakeBench(timed=bench.timed[: bench.timed.index(first_with(bench, scores(bench)[3]))])
    assert {slot: timed(early)[slot] for slot in costly} == costly
    assert timed(bench) == {slot: set(choices) for slot, choices in ALL.kept.items()}


def first_with(bench: FakeBench, score: tuple[int, int]) -> tuple[KernelConfig, int]:
    return next(one for one in bench.timed if (one[0].score_rows, one[0].score_keys) == score)


def test_a_sweep_tries_everything_in_fewer_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, score_kernel=0.02)
    found, swept, bench = run(FakeBench()), FakeBench(), FakeBench()
    whole = run(swept, sweep=True)
    assert whole.ended == "exhausted"
    assert timed(swept) == {slot: set(choices) for slot, choices in ALL.kept.items()}
    assert whole.tried < found.tried
    # Where nothing costs anything as many are counted, as a plan does.
    weighed(monkeypatch, attend_fwd_kernel=0.0, attend_bwd_query_kernel=0.0)
    assert abs(run(bench, sweep=True).tried - whole.tried) <= 4


def test_the_first_wave_is_one_configuration_where_it_is_not_known_how_long_compiling_takes() -> None:
    bench = FakeBench()
    bench.compile([SPACE.base], 100.0)  # as for another length before
    run(bench)
    waves = [configs for what, configs, _ in bench.said if what == "compile ahead"]
    assert [len(wave) for wave in waves[:2]] == [1, 4]


def test_kernels_that_are_never_launched_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, score_kernel=0.0)
    bench = FakeBench()
    bench.compile([SPACE.base], 100.0)  # one configuration alone is begun before times are known
    assert run(bench).ended == "exhausted"
    early = FakeBench(timed=bench.timed[: bench.timed.index(first_with(bench, scores(bench)[2]))])
    others = {slot: set(choices) for slot, choices in ALL.kept.items() if slot[0] != "score"}
    assert {slot: timed(early)[slot] for slot in others} == others
    assert timed(bench) == {slot: set(choices) for slot, choices in ALL.kept.items()}


def test_what_looks_good_by_its_values_is_tried_first() -> None:
    known = Knowledge()

    def choice(rows: int, keys: int) -> Choice:
        return (("score_rows", rows), ("score_keys", keys))

    assert known.promise(("score", ()), choice(64, 32)) < 0  # nothing is known: all are alike
    cost = {64: 1.0, 128: 0.7, 32: 1.4, 16: 2.0}
    made = [choice(rows, keys) for rows in cost for keys in cost if rows == 64 or keys == 64]
    known.times["score", ()] = {one: cost[one[0][1]] * cost[one[1][1]] for one in made}
    others = [choice(rows, keys) for rows in cost for keys in cost if choice(rows, keys) not in made]
    ranked = sorted(others, key=lambda one: known.promise(("score", ()), one))
    assert ranked[0] == choice(128, 128)
    assert ranked[-1] == choice(16, 16)
    # What was learned at some shared values holds at others, and for no other group.
    assert known.promise(("score", (("tile", 4),)), ranked[0]) == known.promise(("score", ()), ranked[0])
    assert known.promise(("attend", ()), ranked[0]) == known.promise(("attend", ()), ranked[-1])


def test_shared_values_that_were_not_seen_are_judged_by_those_that_were() -> None:
    known = Knowledge()
    one: Choice = (("backward.warps", 4),)

    def slot(tile: int, keys: int) -> Slot:
        return "backward", (("tile", tile), ("backward_keys", keys))

    known.times |= {slot(8, 64): {one: 1.0}, slot(16, 64): {one: 2.0}, slot(8, 32): {one: 1.5}}
    assert known.expect(slot(8, 32)) == 1.5
    assert known.expect(slot(16, 32)) == pytest.approx(3.0)
    assert known.expect(slot(4, 64)) == 1.0  # never tried: it may be the best
    assert known.expect(("attend", (("tile", 8),))) == 0.0


def test_a_short_budget_goes_where_it_is_worth_it() -> None:
    bench = FakeBench()
    found = run(bench, 40.0)
    assert len({config for config, _ in bench.timed}) < len(ALL.kept["score", ()]) + 20
    assert found.gain >= 0.95 * run(FakeBench()).gain


def test_where_runs_take_too_long_a_shorter_length_decides() -> None:
    bench = FakeBench(slowness=5.0)
    found = run(bench, 60.0, lengths=(8192, 131072))
    assert (found.length, found.config) == (8192, BEST)
    assert bench.cut_off == 0
    assert {length for _, length in bench.timed} == {8192}


def test_shared_values_at_which_nothing_runs_cost_no_choice_of_others() -> None:
    bench = FakeBench({"c.tile == 16": Failure("crashed", "the process died")})
    run(bench)
    free = {slot: set(choices) for slot, choices in ALL.kept.items() if ("tile", 16) not in slot[1]}
    assert {slot: choices for slot, choices in timed(bench).items() if slot in free} == free
    assert sum(config.tile == 16 for config in set(bench.checked)) <= 12
