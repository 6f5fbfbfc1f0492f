"""The kill rate, and what survived with the reason for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.mutants.pool import Outcome


@dataclass(frozen=True)
class Summary:
    """Outcomes beside the tables of mutants known to be equivalent, and known to be missed: reasons by name."""

    outcomes: tuple[Outcome, ...]
    equivalent: Mapping[str, str]
    known: Mapping[str, str] = field(default_factory=dict)

    def of(self, fate: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.verdict.fate == fate]

    @property
    def killed(self) -> list[Outcome]:
        return self.of("killed")

    @property
    def explained(self) -> list[Outcome]:
        """Survivors with a reason, and mutants that change no code of any spec, with one."""
        return [outcome for outcome in self._alive if outcome.mutant.name in self.equivalent]

    @property
    def unexplained(self) -> list[Outcome]:
        """Survivors without one, and mutants of code that no spec reaches."""
        return [outcome for outcome in self._alive if outcome.mutant.name not in {*self.equivalent, *self.known}]

    @property
    def _alive(self) -> list[Outcome]:
        return [*self.of("survived"), *self.of("not reached")]

    @property
    def missed(self) -> list[Outcome]:
        """Survivors that are faults, and known to survive."""
        return [outcome for outcome in self._alive if outcome.mutant.name in self.known]

    @property
    def stale(self) -> list[Outcome]:
        """Mutants that a table says survive, and that were caught all the same."""
        return [outcome for outcome in self.killed if outcome.mutant.name in {*self.equivalent, *self.known}]

    @property
    def ok(self) -> bool:
        return bool(self.killed) and not self.unexplained and not self.stale

    @property
    def rate(self) -> float:
        """Of the mutants that compile and are not known to be equivalent, the share that was caught."""
        return len(self.killed) / self.counted if self.counted else 0.0

    @property
    def counted(self) -> int:
        return len(self.killed) + len(self.unexplained) + len(self.missed)

    def data(self) -> dict[str, object]:
        """All of it for JSON."""
        return {
            "ok": self.ok,
            "kill_rate": self.rate,
            "killed": len(self.killed),
            "equivalent": len(self.explained),
            "missed": len(self.missed),
            "not_valid": len(self.of("not valid")),
            "by_quantity": dict(self._by_quantity()),
            "mutants": [_entry(outcome, {**self.equivalent, **self.known}) for outcome in self.outcomes],
        }

    def _by_quantity(self) -> list[tuple[str, int]]:
        caught = Counter(outcome.verdict.by.removesuffix(" (given)").split(":")[0] for outcome in self.killed)
        return caught.most_common()

    def __str__(self) -> str:
        lines = ["caught by  " + ", ".join(f"{name} {count}" for name, count in self._by_quantity())]
        for title, found in (("survived", self.unexplained), ("in the table, but caught", self.stale)):
            lines += [f"{title}: {outcome.mutant.name}  {outcome.verdict.where}" for outcome in found]
        lines += [f"equivalent: {o.mutant.name}\n    {self.equivalent[o.mutant.name]}" for o in self.explained]
        invalid = len(self.of("not valid"))
        lines += [f"missed: {o.mutant.name}\n    {self.known[o.mutant.name]}" for o in self.missed]
        lines.append(
            f"{len(self.killed)} of {self.counted} mutants killed ({self.rate:.1%}); {len(self.explained)} more are "
            f"equivalent, {invalid} do not compile"
        )
        return "\n".join(lines)


def _entry(outcome: Outcome, reasons: Mapping[str, str]) -> dict[str, object]:
    entry: dict[str, object] = {"name": outcome.mutant.name, "file": outcome.mutant.file, "rule": outcome.mutant.rule}
    entry |= {"fate": outcome.verdict.fate, "by": outcome.verdict.by, "where": outcome.verdict.where}
    entry["seconds"] = round(outcome.seconds, 1)
    return entry | ({"reason": reasons[outcome.mutant.name]} if outcome.mutant.name in reasons else {})
