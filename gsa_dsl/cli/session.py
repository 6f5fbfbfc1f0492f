"""From a command's arguments to a checked spec, a plan or a compiled attention."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gsa_dsl.cli.files import read_source
from gsa_dsl.cli.options import kv_heads
from gsa_dsl.cli.status import Misuse
from gsa_dsl.frontend.library import bare_names, bases_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gsa_dsl.compiler import CompiledAttention
    from gsa_dsl.diagnostics import Source
    from gsa_dsl.ir.plan import Plan
    from gsa_dsl.options import KernelConfig
    from gsa_dsl.sema.typed import CheckedSpec

_WIDEST_HEAD = 256


def check_source(source: Source, arguments: argparse.Namespace) -> CheckedSpec:
    """The checked spec in ``source`` with the parameters of ``-p``; raises SpecError with every mistake."""
    from gsa_dsl.sema.check import parse_and_check

    return parse_and_check(source, dict(arguments.params))


def check_file(arguments: argparse.Namespace) -> CheckedSpec:
    """:func:`check_source` of ``arguments.file``; raises Misuse if that cannot be read."""
    return check_source(read_source(arguments.file), arguments)


def plan_for(spec: CheckedSpec, arguments: argparse.Namespace) -> Plan:
    """The plan of ``spec`` for the shape asked for; raises Misuse for a shape that cannot be."""
    from gsa_dsl.compiler import plan_of

    return plan_of(spec.source, dict(spec.params), _kernel_shape(arguments))


def generated_for(spec: CheckedSpec, arguments: argparse.Namespace) -> str:
    """The text of the module that is generated for ``spec``; raises as :func:`plan_for`."""
    from gsa_dsl.compiler import generate

    return generate(bare_names(spec.source), dict(spec.params), _kernel_shape(arguments), None, arguments.backend)


def compile_for(
    spec: CheckedSpec,
    arguments: argparse.Namespace,
    backend: str,
    params: Mapping[str, int | float],
    config: KernelConfig | None = None,
) -> CompiledAttention:
    """``spec`` compiled on ``backend`` with these parameters and tiles; raises as :func:`plan_for`."""
    import gsa_dsl

    heads, groups, head_dim, value_dim = shape_of(arguments)
    source = bare_names(spec.source)
    try:
        return gsa_dsl.compile(
            source.text,
            name=source.name,
            heads=heads,
            kv_heads=groups,
            head_dim=head_dim,
            value_dim=value_dim,
            backend=backend,
            params=params,
            config=config,
            bases=bases_of(source) or None,
        )
    except ValueError as error:
        raise Misuse(str(error)) from error


def shape_of(arguments: argparse.Namespace) -> tuple[int, int, int, int]:
    """(heads, kv_heads, head_dim, value_dim); raises Misuse unless kv_heads divides heads."""
    heads, groups = arguments.heads, kv_heads(arguments)
    if heads % groups:
        raise Misuse(f"--kv-heads {groups} does not divide --heads {heads}")
    return heads, groups, arguments.head_dim, arguments.value_dim or arguments.head_dim


def _kernel_shape(arguments: argparse.Namespace) -> tuple[int, int, int, int]:
    """:func:`shape_of`, within what kernels are generated for."""
    shape = shape_of(arguments)
    for option, width in zip(("--head-dim", "--value-dim"), shape[2:], strict=True):
        if width > _WIDEST_HEAD:
            raise Misuse(f"{option} must be at most {_WIDEST_HEAD}, got {width}")
    return shape
