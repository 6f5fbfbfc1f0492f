"""The one printer of scalar expressions, in the dialect of Triton or of torch; shared subexpressions are named once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gsa_dsl.ir.nodes import Apply, Const, Input, Scalar, inputs, walk


@dataclass(frozen=True, slots=True)
class Dialect:
    """How operations that are no infix operators are spelled: ``functions`` are formats over the printed arguments."""

    name: str
    functions: Mapping[str, str]


_INFIX = {
    "lt": ("<", 1),
    "le": ("<=", 1),
    "gt": (">", 1),
    "ge": (">=", 1),
    "eq": ("==", 1),
    "add": ("+", 2),
    "sub": ("-", 2),
    "mul": ("*", 3),
    "div": ("/", 3),
}
_NEG_LEVEL, _ATOM_LEVEL = 4, 5
_LINE = 109  # columns that an indented ``return`` leaves

TRITON = Dialect(
    "triton",
    {
        "sigmoid": "sigmoid({0})",
        "tanh": "tanh({0})",
        "relu": "relu({0})",
        "silu": "silu({0})",
        "softplus": "softplus({0})",
        "exp": "tl.exp({0})",
        "log": "tl.log({0})",
        "sqrt": "tl.sqrt({0})",
        "abs": "tl.abs({0})",
        "min": "minimum({0}, {1})",
        "max": "maximum({0}, {1})",
        "clamp": "minimum(maximum({0}, {1}), {2})",
        "where": "tl.where({0}, {1}, {2})",
        "pow": "power({0}, {1})",
    },
)
# Scores of half-precision operands, which say nothing of a function's last bits; products are added without rounding.
QUICK = Dialect("quick", {**TRITON.functions, "sigmoid": "quick_sigmoid({0})", "tanh": "quick_tanh({0})"})
TORCH = Dialect(
    "torch",
    {
        "sigmoid": "torch.sigmoid({0})",
        "tanh": "torch.tanh({0})",
        "relu": "torch.relu({0})",
        "silu": "torch.nn.functional.silu({0})",
        "softplus": "torch.nn.functional.softplus({0})",
        "exp": "torch.exp({0})",
        "log": "torch.log({0})",
        "sqrt": "torch.sqrt({0})",
        "abs": "torch.abs({0})",
        "min": "minimum({0}, {1})",
        "max": "maximum({0}, {1})",
        "clamp": "clamp({0}, {1}, {2})",
        "where": "torch.where({0}, {1}, {2})",
        "pow": "{0} ** {1}",
    },
)
# Torch without helpers, for the host's part of a Triton module.
HOST = Dialect(
    "host",
    {
        **TORCH.functions,
        "min": "torch.where({0} <= {1}, {0}, {1})",
        "max": "torch.where({0} >= {1}, {0}, {1})",
        "clamp": "torch.where({0} < {1}, {1}, torch.where({0} > {2}, {2}, {0}))",
    },
)
_OF_TORCH = (TORCH, HOST)


@dataclass(frozen=True, slots=True)
class Printed:
    """A function body: assignments for values used more than once, then the expressions of the results."""

    assignments: tuple[tuple[str, str], ...]
    results: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join([*(f"{name} = {value}" for name, value in self.assignments), *self.results])


def print_scalars(exprs: tuple[Scalar, ...], dialect: Dialect, prefix: str = "x") -> Printed:
    """Print several expressions over the same inputs together, so that they share their common parts.

    What would not fit a line (of a function's body, with its ``return``) is named too, the longest part first.
    """
    uses: Counter[Scalar] = Counter()
    seen: set[Scalar] = set()

    def count(node: Scalar) -> None:
        uses[node] += 1
        if isinstance(node, Apply) and node not in seen:
            seen.add(node)
            for arg in node.args:
                count(arg)

    for expr in exprs:
        count(expr)
    names: dict[Scalar, str] = {}
    assignments: list[tuple[str, str]] = []

    def name(node: Scalar) -> None:
        text = _text(node, dialect, names)[0]
        names[node] = f"{prefix}{len(assignments)}"
        assignments.append((names[node], text))

    def shorten(parts: tuple[Scalar, ...], line: Callable[[], str]) -> None:
        while len(line()) > _LINE:
            unnamed = [part for part in parts if isinstance(part, Apply) and part not in names]
            if not unnamed:
                break
            name(max(unnamed, key=lambda part: len(_text(part, dialect, names)[0])))

    for expr in exprs:
        for node in walk(expr):
            if isinstance(node, Apply) and node not in names:
                shorten(node.args, lambda node=node: _text(node, dialect, names)[0])  # type: ignore[misc]
                if uses[node] > 1:
                    name(node)
    shorten(exprs, lambda: ", ".join(_text(expr, dialect, names)[0] for expr in exprs))
    return Printed(tuple(assignments), tuple(_text(expr, dialect, names)[0] for expr in exprs))


def _text(node: Scalar, dialect: Dialect, names: Mapping[Scalar, str]) -> tuple[str, int]:
    """The printed node and how tightly it binds."""
    if node in names:
        return names[node], _ATOM_LEVEL
    if isinstance(node, Input):
        return node.name, _ATOM_LEVEL
    if isinstance(node, Const):
        return _number(node.value), _ATOM_LEVEL if node.value >= 0 else _NEG_LEVEL
    if node.op == "neg":
        return f"-{_bracket(node.args[0], _ATOM_LEVEL, dialect, names)}", _NEG_LEVEL
    if dialect is QUICK and node.op == "add" and (product := _product(node, names)) is not None:
        texts = [_text(arg, dialect, names)[0] for arg in product]
        return f"tl.fma({', '.join(texts)})", _ATOM_LEVEL
    if node.op in _INFIX:
        sign, level = _INFIX[node.op]
        # Python chains comparisons, so one on the left needs brackets too.
        left = _bracket(node.args[0], level + (level == _INFIX["lt"][1]), dialect, names)
        right = _bracket(node.args[1], level + 1, dialect, names)
        return f"{left} {sign} {right}", level
    texts = [_text(arg, dialect, names)[0] for arg in node.args]
    if dialect in _OF_TORCH and node.op == "pow":
        texts = [_bracket(arg, _ATOM_LEVEL, dialect, names) for arg in node.args]
        return dialect.functions["pow"].format(*texts), _NEG_LEVEL
    if dialect in _OF_TORCH and node.op == "where" and all(isinstance(arg, Const) for arg in node.args[1:]):
        # Between two Python numbers torch.where would choose float32, whatever the condition compares.
        texts[2] = f"{inputs(node.args[0])[0]}.new_tensor({texts[2]})"
    return dialect.functions[node.op].format(*texts), _ATOM_LEVEL


def _product(node: Apply, names: Mapping[Scalar, str]) -> tuple[Scalar, Scalar, Scalar] | None:
    """The factors and the other term of a sum with a product that has no name; that on the left if both are."""
    for part, other in ((node.args[0], node.args[1]), (node.args[1], node.args[0])):
        if isinstance(part, Apply) and part.op == "mul" and part not in names:
            return part.args[0], part.args[1], other
    return None


def _bracket(node: Scalar, level: int, dialect: Dialect, names: Mapping[Scalar, str]) -> str:
    text, own = _text(node, dialect, names)
    return text if own >= level else f"({text})"


def _number(value: float) -> str:
    """A float literal that reads back exactly and never as an int."""
    text = repr(float(value))
    return text if text not in ("inf", "-inf", "nan") else f'float("{text}")'
