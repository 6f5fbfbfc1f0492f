"""The kill rate, and what survived with the reason for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.mutants.pool import Outcome


@dataclass(frozen=True)
class Summary:
    """Outcomes beside the table of mutants that are known to be equivalent, reasons by name."""

    outcomes: tuple[Outcome, ...]
    equivalent: Mapping[str, str]

    def of(self, fate: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.verdict.fate == fate]

    @property
    def killed(self) -> list[Outcome]:
        return self.of("killed")

    @property
    def explained(self) -> list[Outcome]:
        """Survivors with a reason."""
        return [outcome for outcome in self.of("survived") if outcome.mutant.name in self.equivalent]

    @property
    def unexplained(self) -> list[Outcome]:
        """Survivors without one, and mutants of code that no spec reaches."""
        lost = [*self.of("survived"), *self.of("not reached")]
        return [outcome for outcome in lost if outcome.mutant.name not in self.equivalent]

    @property
    def stale(self) -> list[Outcome]:
        """Mutants that the table calls equivalent and that were caught all the same."""
        return [outcome for outcome in self.killed if outcome.mutant.name in self.equivalent]

    @property
    def ok(self) -> bool:
        return bool(self.killed) and not self.unexplained and not self.stale

    @property
    def rate(self) -> float:
        """Of the mutants that compile and are not known to be equivalent, the share that was caught."""
        counted = len(self.killed) + len(self.unexplained)
        return len(self.killed) / counted if counted else 0.0

    def data(self) -> dict[str, object]:
        """All of it for JSON."""
        return {
            "ok": self.ok,
            "kill_rate": self.rate,
            "killed": len(self.killed),
            "equivalent": len(self.explained),
            "not_valid": len(self.of("not valid")),
            "by_quantity": dict(self._by_quantity()),
            "mutants": [_entry(outcome, self.equivalent) for outcome in self.outcomes],
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
        counted = len(self.killed) + len(self.unexplained)
        lines.append(
            f"{len(self.killed)} of {counted} mutants killed ({self.rate:.1%}); {len(self.explained)} more are "
            f"equivalent, {invalid} do not compile"
        )
        return "\n".join(lines)


def _entry(outcome: Outcome, equivalent: Mapping[str, str]) -> dict[str, object]:
    entry: dict[str, object] = {"name": outcome.mutant.name, "file": outcome.mutant.file, "rule": outcome.mutant.rule}
    entry |= {"fate": outcome.verdict.fate, "by": outcome.verdict.by, "where": outcome.verdict.where}
    entry["seconds"] = round(outcome.seconds, 1)
    return entry | ({"reason": equivalent[outcome.mutant.name]} if outcome.mutant.name in equivalent else {})
