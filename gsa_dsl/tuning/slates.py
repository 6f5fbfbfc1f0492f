"""What is tried next: new choices of several groups in one configuration, each group as often as its time deserves.

A group gains credit by the share of its time in that of the most expensive group with something left to try, and takes
part once it has credit for a whole choice: a kernel of 2 % of the time is not compiled anew for every configuration.
Before any time is known those take part that are seldom cheap. Cheap ones have their turn when the expensive ones have
nothing left.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Sequence
from dataclasses import dataclass

from gsa_dsl.options import KernelConfig
from gsa_dsl.tuning.job import Failure
from gsa_dsl.tuning.knowledge import Knowledge, slots_of
from gsa_dsl.tuning.prune import Slot, Survivors
from gsa_dsl.tuning.space import Choice, Group, Space, choice_of, with_choice

MINOR = ("threshold", "list", "guess", "keep", "settle")
"""Groups of which each is mostly a few percent of the time, and whose kernels take as long to compile as others."""
TURN = 1.05
"""Each turn of shared values counts as if all kernels together took so many times as long: others come in between."""


@dataclass(frozen=True, slots=True)
class Slate:
    """A configuration, the choices that are new in it, and the share of its kernels that none before it had."""

    config: KernelConfig
    new: tuple[tuple[Slot, Choice], ...]
    share: float = 1.0


class Slates:
    """The choices not tried yet, and the configurations made of them; ``known`` grows beside it.

    With ``everyone`` all groups take part in every configuration, which tries everything in the fewest.
    """

    def __init__(
        self,
        space: Space,
        survivors: Survivors,
        combinations: Sequence[Choice],
        known: Knowledge,
        *,
        everyone: bool = False,
    ) -> None:
        self.space, self.combinations, self.known, self._everyone = space, tuple(combinations), known, everyone
        self.queues = {slot: deque(choices) for slot, choices in survivors.kept.items()}
        self.worked: set[Choice] = set()  # shared values at which something ran
        self.given_up: set[Choice] = set()  # and at which nothing does
        self._turns: Counter[Choice] = Counter()
        self._credit: dict[str, float] = {group.name: 0.0 for group in space.groups}
        self._made: set[tuple[Slot, Choice]] = set()

    def base(self) -> Slate:
        """The planner's own configuration, its choices taken out of the queues."""
        config, new = self.space.base, []
        for group in self.space.groups:
            slot = (group.name, choice_of(config, group.shared))
            choice = choice_of(config, (axis.field for axis in group.axes))
            if choice in self.queues.get(slot, ()):
                self.queues[slot].remove(choice)
            new.append((slot, choice))
        return Slate(config, tuple(new), self._share(config))

    def next(self) -> Slate | None:
        """Untried choices, most often at the shared values that look good; None where nothing is left."""
        left = self.left()
        if not left:
            return None
        seen = {value for combination in self._turns for value in combination}

        def last(one: Choice) -> tuple[bool, float]:
            return seen.issuperset(one), self._expected(one) * TURN ** self._turns[one]

        most = max(self.known.expect(slot) for one in left for slot in self._untried(one))
        # Where only cheap groups have something left, none may be due; at the most expensive slot of all one is.
        combination, due = next((one, due) for one in sorted(left, key=last) if (due := self._due(one, most)))
        self._turns[combination] += 1
        self._pay(combination, due, most)
        return self._slate(combination, [(slot, self._next(slot)) for slot in due])

    def left(self) -> list[Choice]:
        """The shared values with something left to try."""
        return [one for one in self.combinations if one not in self.given_up and self._open(one)]

    def put_back(self, slate: Slate) -> None:
        """The new choices of a slate that was not tried come next in their queues."""
        for slot, choice in slate.new:
            self._made.discard((slot, choice))
            if slot in self.queues:
                self.queues[slot].appendleft(choice)

    def without_blamed(self, slate: Slate, failure: Failure, failed: Container[KernelConfig]) -> list[Slate]:
        """What to try of a failed slate to find the culprit; what is innocent goes back to its queue."""
        combination = self._combination(slate.config)
        if not slate.new:
            self.given_up.add(combination)
            return []
        blamed = [one for one in slate.new if len(slate.new) == 1 or failure.kernel in self._group(one[0][0]).kernels]
        if blamed and (combination in self.worked or len(slate.new) > 1):
            self.put_back(Slate(slate.config, tuple(one for one in slate.new if one not in blamed)))
            return []
        if combination in self.worked:
            # Nothing names the culprit: each choice by itself will.
            return [self._slate(combination, [one]) for one in slate.new]
        # The shared values may be to blame, and not what is new.
        self.put_back(slate)
        plain = self._slate(combination, ())
        if plain.config in failed:
            self.given_up.add(combination)
        return [plain]

    def ran(self, slate: Slate) -> None:
        """At its shared values something runs."""
        self.worked.add(self._combination(slate.config))

    def _combination(self, config: KernelConfig) -> Choice:
        return choice_of(config, (axis.field for axis in self.space.shared))

    def _untried(self, combination: Choice) -> list[Slot]:
        return [slot for slot in slots_of(self.space, combination) if self.queues.get(slot)]

    def _due(self, combination: Choice, most: float) -> list[Slot]:
        """The slots whose turn it is, where the most expensive one of all with something left takes ``most``."""
        left = self._untried(combination)
        if not self.known.times and not self._everyone:
            return [slot for slot in left if slot[0] not in MINOR] or left
        # Where nothing is known to run, kernels are new whatever is chosen.
        return [
            slot
            for slot in left
            if self._everyone
            or not self.known.best(slot)
            or self._credit[slot[0]] + self.known.expect(slot) / most >= 1.0
        ]

    def _pay(self, combination: Choice, due: Container[Slot], most: float) -> None:
        """Every group that could take part gains credit; whose turn it is by its credit spends it."""
        for slot in self._untried(combination):
            if self.known.best(slot):
                credit = self._credit[slot[0]] + self.known.expect(slot) / most - (slot in due)
                self._credit[slot[0]] = max(credit, 0.0)  # rounding must not cost the most expensive one its turn

    def _expected(self, combination: Choice) -> float:
        return sum(self.known.expect(slot) for slot in slots_of(self.space, combination))

    def _open(self, combination: Choice) -> bool:
        """Whether there is something left to try, and every kernel has a choice that may run."""
        slots = slots_of(self.space, combination)
        return any(self.queues.get(slot) for slot in slots) and all(
            self.queues.get(slot) or self.known.best(slot) for slot in slots
        )

    def _next(self, slot: Slot) -> Choice:
        """The most promising choice of a queue, taken out of it; of equal ones the first."""
        choice = min(self.queues[slot], key=lambda one: self.known.promise(slot, one))
        self.queues[slot].remove(choice)
        return choice

    def _slate(self, combination: Choice, new: Sequence[tuple[Slot, Choice]]) -> Slate:
        """These shared values and choices; in the other groups the best known, else what the planner has."""
        config = with_choice(self.space.base, combination)
        for slot in slots_of(self.space, combination):
            for choice in self.known.best(slot):
                config = with_choice(config, choice)
        for _, choice in new:
            config = with_choice(config, choice)
        return Slate(config, tuple(new), self._share(config))

    def _share(self, config: KernelConfig) -> float:
        """The share of kernels that no slate before had; they are not new a second time."""
        kernels = new = 0
        for group in self.space.groups:
            kernels += len(group.kernels)
            one = (group.name, choice_of(config, group.shared)), choice_of(config, (axis.field for axis in group.axes))
            new += len(group.kernels) * (one not in self._made)
            self._made.add(one)
        return new / max(kernels, 1)

    def _group(self, name: str) -> Group:
        return next(group for group in self.space.groups if group.name == name)
