"""Where the kernel templates are: beside the package in a checkout, inside it once installed from a wheel."""

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
    packaged = package / "_templates"
    if packaged.is_dir():
        return packaged
    checkout = package.parent / "templates"
    # Anyone may have a folder called templates; only the one of our own checkout will do.
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    raise FileNotFoundError(
        f"gsa_dsl has no kernel templates: looked for {packaged} (an installed package) and {checkout} (a checkout). "
        "Install the package again, or run it from a complete checkout."
    )
