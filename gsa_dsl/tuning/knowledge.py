"""What a search knows of single kernels: times of choices within their slots, and what they promise of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import Timing
from gsa_dsl.tuning.prune import Slot
from gsa_dsl.tuning.space import Choice, Space, choice_of, project, with_choice

UNSEEN = 0.01
"""What a value that was not tried is taken to save, as a logarithm: it comes before what is known to save nothing."""
SHRINKING, SWEEPS = 1.0, 10
"""Of fitted effects: as if there were so many more values of no effect, and how often each is fitted to the others."""


@dataclass
class Knowledge:
    """Milliseconds of each choice within its slot; what could not be measured is not in it, and so never chosen."""

    times: dict[Slot, dict[Choice, float]] = field(default_factory=dict)
    _fitted: dict[str, tuple[int, dict[tuple[str, int], float]]] = field(default_factory=dict)

    def learn(self, space: Space, config: KernelConfig, timing: Timing) -> None:
        """Take in what one run says of every group."""
        for group in space.groups:
            slot = (group.name, choice_of(config, group.shared))
            choice = choice_of(config, (axis.field for axis in group.axes))
            known = self.times.setdefault(slot, {})
            # Kernels that this length has no use for take no time at all.
            known[choice] = min(max(timing.of(group.kernels), 1e-9), known.get(choice, math.inf))

    def best(self, slot: Slot, count: int = 1) -> list[Choice]:
        """The fastest choices of a slot."""
        known = self.times.get(slot, {})
        return sorted(known, key=lambda choice: known[choice])[:count]

    def promise(self, slot: Slot, choice: Choice) -> float:
        """About how much longer than others in its slot a choice takes, as a logarithm, by its values one at a time.

        What values cost is taken from all slots of the group, each beside its own mean, and shrunk towards nothing
        where it was seen seldom.
        """
        count = sum(map(len, self.times.values()))
        if self._fitted.get(slot[0], (-1, {}))[0] != count:
            slots = [known for (group, _), known in self.times.items() if group == slot[0] and known]
            self._fitted[slot[0]] = count, _effects(slots)
        effects = self._fitted[slot[0]][1]
        return sum(effects.get(value, -UNSEEN) for value in choice)

    def expect(self, slot: Slot) -> float:
        """The best time of a slot; where it was not seen, of others of the group by what its shared values cost."""
        best = {other: min(known.values()) for other, known in self.times.items() if other[0] == slot[0] and known}
        if slot in best or not best:
            return best.get(slot, 0.0)
        least = min(best.values())
        ratios = [
            min((time / least for (_, shared), time in best.items() if value in shared), default=1.0)
            for value in slot[1]
        ]
        return least * math.prod(ratios)

    def total(self, space: Space, combination: Choice) -> float:
        """The least time of all groups together at these shared values; infinite where a group is unknown."""
        total = 0.0
        for slot in slots_of(space, combination):
            best = self.best(slot)
            total += self.times[slot][best[0]] if best else math.inf
        return total

    def assemble(self, space: Space, combination: Choice, place: int = 0) -> KernelConfig | None:
        """The best of each group at these shared values, or the ``place``-th best where there are as many."""
        config = with_choice(space.base, combination)
        for slot in slots_of(space, combination):
            best = self.best(slot, place + 1)
            if not best:
                return None
            config = with_choice(config, best[-1])
        return config


def slots_of(space: Space, combination: Choice) -> list[Slot]:
    """The slot of each group at these shared values."""
    return [(group.name, project(combination, group.shared)) for group in space.groups]


def _effects(slots: Sequence[Mapping[Choice, float]]) -> dict[tuple[str, int], float]:
    """What each value of an axis costs, as a logarithm: effects that add up, each fitted to what the others leave."""
    rows = []
    for known in slots:
        mean = sum(math.log(time) for time in known.values()) / len(known)
        rows += [(choice, math.log(time) - mean) for choice, time in known.items()]
    effects: dict[tuple[str, int], float] = {value: 0.0 for choice, _ in rows for value in choice}
    with_value = {value: [(choice, cost) for choice, cost in rows if value in choice] for value in effects}
    for _ in range(SWEEPS):
        for value, of in with_value.items():
            left = sum(cost - sum(effects[one] for one in choice) + effects[value] for choice, cost in of)
            effects[value] = left / (len(of) + SHRINKING)
    return effects
