"""The Jinja environment of the templates: real files with names in errors, and no variable may be missing."""

from __future__ import annotations

import functools

import jinja2

from gsa_dsl.paths import templates_dir


@functools.cache
def environment() -> jinja2.Environment:
    """The environment; an undefined variable raises instead of printing nothing."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_dir()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
