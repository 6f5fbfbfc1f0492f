"""Where the files are that stand beside the package in a checkout, and inside it once installed from a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def templates_dir(package: Path = _PACKAGE) -> Path:
    """The folder of the kernel templates that belongs to the package folder ``package``.

    A wheel carries it as ``gsa_dsl/_templates``; a checkout, also one installed with ``pip install -e``, has it at
    ``templates`` beside ``pyproject.toml``.

    Raises:
        FileNotFoundError: neither is there; the message names both places.
    """
    return _shipped(package, "_templates", "templates", "kernel templates")


def examples_dir(package: Path = _PACKAGE) -> Path:
    """The folder of the example specs, found and missed as :func:`templates_dir`."""
    return _shipped(package, "_examples", "examples", "example specs")


def errors_dir(package: Path = _PACKAGE) -> Path:
    """The folder of the pages that explain diagnostics, one a code, found and missed as :func:`templates_dir`."""
    return _shipped(package, "_errors", "docs/errors", "pages on diagnostics")


def _shipped(package: Path, inside: str, beside: str, what: str) -> Path:
    packaged = package / inside
    if packaged.is_dir():
        return packaged
    checkout = package.parent / beside
    # Anyone may have a folder called templates; only the one of our own checkout will do.
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    raise FileNotFoundError(
        f"gsa_dsl has no {what}: looked for {packaged} (an installed package) and {checkout} (a checkout). "
        "Install the package again, or run it from a complete checkout."
    )
