"""One failure as a value: everything that it takes to see it again, in this process or in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gsa_dsl.frontend import ast
from gsa_dsl.options import KernelConfig
from gsa_dsl.sema.typed import CheckedSpec
from gsa_dsl.testing.report import Case, VerifyReport


@dataclass(frozen=True, slots=True)
class Failing:
    """A spec, all its text, with the head shape, case and inputs on which its kernels are wrong."""

    text: str
    backend: str
    case: Case
    dtype: str = "float32"
    seed: int = 0
    device: str | None = None
    config: KernelConfig | None = None

    def options(self) -> dict[str, object]:
        """Those of :func:`gsa_dsl.compile`."""
        case = self.case
        options: dict[str, object] = {"heads": case.heads, "kv_heads": case.kv_heads, "head_dim": case.head_dim}
        if case.value_dim != case.head_dim:
            options["value_dim"] = case.value_dim
        return options | {"backend": self.backend, "config": self.config}

    def verify(self) -> VerifyReport:
        """Compile and compare, this one case. Raises SpecError or ValueError where the spec or the shape is none."""
        import gsa_dsl
        from gsa_dsl.testing.verify import verify

        compiled = gsa_dsl.compile(self.text, **self.options())  # type: ignore[arg-type]
        return verify(
            compiled,
            shapes=[(self.case.batch, self.case.length)],
            patterns=(self.case.pattern,),
            phases=(self.case.phase,),
            seed=self.seed,
            dtype=getattr(torch, self.dtype),
            device=self.device,
            strided=self.case.strided,
            catch=True,
        )


def standalone(spec: CheckedSpec, params: Mapping[str, int | float]) -> str:
    """The text of ``spec`` without what it extends, with ``params`` as the defaults of its parameters."""
    values = {**dict(spec.params), **params}

    def text(node: ast.Node) -> str:
        return spec.source.of(node.span).text[node.span.start : node.span.end]

    header = ", ".join(f"{param.name.id} = {_number(values[param.name.id])}" for param in spec.tree.params)
    lines = [f"attention {spec.name}{f'({header})' if header else ''} {{"]
    lines += [f"  {' '.join(text(clause).split())}" for clause in spec.tree.clauses if not isinstance(clause, PROMISES)]
    return "\n".join([*lines, "}", ""])


PROMISES = (ast.Bound, ast.Assert, ast.Require)
"""Clauses that say nothing about what is computed."""


def _number(value: int | float) -> str:
    return repr(value)
