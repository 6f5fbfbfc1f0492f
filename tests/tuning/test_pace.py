"""What a search takes compiling to cost, from what it saw."""

from __future__ import annotations

import pytest

from gsa_dsl.tuning.pace import CompilePace


def seen(*waves: tuple[float, float]) -> CompilePace:
    pace = CompilePace()
    for share, seconds in waves:
        pace.learn(share, seconds, waited=True)
    return pace


def test_before_a_wave_nothing_is_known() -> None:
    assert not seen().known
    assert seen().seconds(1.0) == 0.0


def test_one_wave_is_taken_to_be_half_latency() -> None:
    pace = seen((1.0, 10.0))
    assert (pace.least, pace.seconds(0.5), pace.seconds(2.0)) == (5.0, 7.5, 15.0)


def test_more_waves_tell_what_each_kernel_adds() -> None:
    pace = seen((0.5, 5.0), (1.0, 6.0), (2.0, 8.0))
    assert pace.least == pytest.approx(4.0)
    assert pace.seconds(3.0) == pytest.approx(10.0)
    assert pace.seconds(0.0) == 0.0  # nothing is compiled


def test_neither_part_is_less_than_nothing() -> None:
    noisy = seen((0.5, 7.0), (1.0, 5.0))
    assert (noisy.least, noisy.seconds(4.0)) == (6.0, 6.0)
    steep = seen((1.0, 1.0), (2.0, 4.0))
    assert (steep.least, steep.seconds(5.0)) == (0.0, pytest.approx(9.0))


def test_what_nobody_waited_for_is_a_bound() -> None:
    pace = seen((1.0, 10.0))
    pace.learn(1.0, 20.0, waited=False)
    assert pace.seconds(1.0) == 10.0
    pace.learn(1.0, 4.0, waited=False)
    assert pace.seconds(1.0) == 7.0
    pace.learn(0.0, 3.0, waited=True)  # nothing was new
    assert pace.seconds(1.0) == 7.0
