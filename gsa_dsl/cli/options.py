"""Options that several commands share."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Generic for type checkers only.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_PARAM = re.compile(r"([A-Za-z_]\w*)=(.+)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, for machines")


def add_params(parser: argparse.ArgumentParser) -> None:
    """``-p NAME=VALUE``, any number of times; ``arguments.params`` is a list of pairs."""
    parser.add_argument(
        "-p",
        "--param",
        dest="params",
        metavar="NAME=VALUE",
        type=_param,
        action="append",
        default=[],
        help="set a parameter of the spec, as k_base=512; may be repeated",
    )


def add_shape(parser: argparse.ArgumentParser, *, heads: int, kv_heads: int, head_dim: int) -> None:
    """``--heads``, ``--kv-heads`` and ``--head-dim`` with these defaults, and ``--value-dim``."""
    group = parser.add_argument_group("shape")
    group.add_argument("--heads", type=positive, default=heads, metavar="H", help="query heads (default: %(default)s)")
    group.add_argument(
        "--kv-heads",
        type=positive,
        metavar="G",
        help=f"key and value heads, a divisor of H (default: {kv_heads}, or H where that does not divide it)",
    )
    group.add_argument(
        "--head-dim", type=positive, default=head_dim, metavar="D", help="features of a head (default: %(default)s)"
    )
    group.add_argument("--value-dim", type=positive, metavar="D", help="features of a value (default: --head-dim)")
    parser.set_defaults(default_kv_heads=kv_heads)


def kv_heads(arguments: argparse.Namespace) -> int:
    """The number of kv heads asked for, or the one that suits ``--heads``."""
    if arguments.kv_heads is not None:
        return int(arguments.kv_heads)
    heads, default = int(arguments.heads), int(arguments.default_kv_heads)
    return default if heads % default == 0 else heads


def add_dialect(parser: argparse.ArgumentParser) -> None:
    """``--backend`` of generated code: ``triton`` or ``torch``."""
    parser.add_argument(
        "--backend",
        choices=("triton", "torch"),
        default="triton",
        help="generate Triton kernels (default), or plain PyTorch",
    )


def positive(text: str) -> int:
    """An integer of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def _param(text: str) -> tuple[str, int | float]:
    match = _PARAM.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    name, value = match.groups()
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"the value of {name!r} must be a number, got {value!r}")
