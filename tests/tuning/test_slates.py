"""Which groups take part in a slate: by their share of the time, once times are known."""

from __future__ import annotations

from collections import Counter

import pytest

from gsa_dsl.tuning.job import Timing
from gsa_dsl.tuning.knowledge import Knowledge
from gsa_dsl.tuning.prune import Survivors
from gsa_dsl.tuning.slates import Slates
from tests.tuning.fakes import SPACE, everything

OWN = (("tile", SPACE.base.tile), ("backward_keys", SPACE.base.backward_keys))


def slates(attend: float, backward: float, score: float) -> Slates:
    """At the planner's shared values alone, after its own configuration was timed."""
    known = Knowledge()
    made = Slates(SPACE, Survivors(everything(SPACE), ()), [OWN], known)
    base = made.base()
    times = {"attend_fwd_kernel": attend, "attend_bwd_query_kernel": backward, "score_kernel": score}
    known.learn(SPACE, base.config, Timing({"forward": 1.0}, {"forward": times}))
    return made


def taken(made: Slates, count: int) -> list[list[str]]:
    """The groups that take part in each of the next slates."""
    return [[slot[0] for slot, _ in one.new] for one in (made.next() for _ in range(count)) if one is not None]


def test_before_a_time_is_known_every_group_takes_part() -> None:
    made = Slates(SPACE, Survivors(everything(SPACE), ()), [OWN], Knowledge())
    first = made.next()
    assert first is not None
    assert [slot[0] for slot, _ in first.new] == ["attend", "backward", "score"]


def test_before_a_time_is_known_those_that_are_mostly_cheap_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their kernels take as long to compile as others do."""
    monkeypatch.setattr("gsa_dsl.tuning.slates.MINOR", ("score",))
    assert taken(Slates(SPACE, Survivors(everything(SPACE), ()), [OWN], Knowledge()), 1) == [["attend", "backward"]]
    # Once times are known these decide, and in a sweep everything takes part.
    assert taken(slates(attend=4.0, backward=0.01, score=4.0), 1) == [["attend", "score"]]
    sweep = Slates(SPACE, Survivors(everything(SPACE), ()), [OWN], Knowledge(), everyone=True)
    assert taken(sweep, 1) == [["attend", "backward", "score"]]


def test_a_group_takes_part_in_proportion_to_its_time() -> None:
    found = taken(slates(attend=4.0, backward=0.01, score=2.0), 4)
    assert found == [["attend"], ["attend", "score"], ["attend"], ["attend", "score"]]


def test_what_is_left_of_cheap_groups_has_its_turn_in_the_end() -> None:
    made = slates(attend=4.0, backward=1e-9, score=0.01)
    found = taken(made, 100)
    assert found == [["attend"]] * 5 + [["score"]] * 5 + [["backward"]]
    assert not made.left()
    assert Counter(name for groups in found for name in groups) == {"attend": 5, "score": 5, "backward": 1}


def test_where_nothing_ran_yet_every_group_that_depends_on_it_takes_part() -> None:
    made = slates(attend=4.0, backward=0.01, score=0.01)
    made.combinations = ((("tile", 16), ("backward_keys", 64)),)
    assert taken(made, 1) == [["attend", "backward"]]


def test_in_a_sweep_every_group_takes_part() -> None:
    made = slates(attend=4.0, backward=0.01, score=0.01)
    made._everyone = True
    assert taken(made, 2) == [["attend", "backward", "score"], ["attend", "score"]]


def test_how_many_kernels_are_new() -> None:
    made = slates(attend=4.0, backward=0.01, score=2.0)
    alone, both = made.next(), made.next()
    assert alone is not None
    assert both is not None
    assert (alone.share, both.share) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    # What was not tried is to be compiled when its turn comes again; what was is not.
    again = made._slate(OWN, both.new)
    assert again.share == 0.0
    made.put_back(both)
    assert made._slate(OWN, both.new).share == pytest.approx(2 / 3)
