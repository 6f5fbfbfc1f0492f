"""A hook of mkdocs: the pages of a folder of many stand under its index in the navigation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDERS = ("variants", "errors")


def on_config(config: Any) -> Any:
    """Replace ``Variants: variants/index.md`` by that page and its neighbours, and likewise for every folder."""
    config["nav"] = [_with_neighbours(entry, Path(config["docs_dir"])) for entry in config["nav"]]
    return config


def _with_neighbours(entry: dict[str, str], docs: Path) -> dict[str, Any]:
    ((title, page),) = entry.items()
    folder, _, index = page.partition("/")
    if folder not in FOLDERS or index != "index.md":
        return entry
    others = sorted(path.name for path in (docs / folder).glob("*.md") if path.name != index)
    return {title: [page, *(f"{folder}/{name}" for name in others)]}
