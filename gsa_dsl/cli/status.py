"""How a command ends."""

from __future__ import annotations

GOOD = 0
WRONG = 1
MISUSE = 2


class Misuse(Exception):
    """The command cannot be carried out as it was given; the message says what to change."""
