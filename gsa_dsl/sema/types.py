"""From a written expression to a typed one: names resolved, kinds checked, free variables and ranges known.

Everything is a number except the indexer's q and k, vectors that only a dot product reads, and comparisons, which only
``where`` reads. Each mistake is told once: an expression with a wrong part is None and says nothing more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.span import Span
from gsa_dsl.frontend import ast
from gsa_dsl.ops import BINARY, OPS, REDUCTIONS
from gsa_dsl.sema import calls, causality, domains, ranges, tables, typed
from gsa_dsl.sema.constants import Number, apply_constant, constant
from gsa_dsl.sema.contexts import SCALARS, TENSORS, Context, size_context
from gsa_dsl.sema.interval import REALS, Interval
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.names import CALLABLE, INDICES, RESERVED, near
from gsa_dsl.sema.typed import TypedExpr, same

_CONSTANT: frozenset[str] = frozenset()


@dataclass(slots=True)
class Typer:
    """Types the expressions of one clause.

    ``emas`` grows by one a state slot, in order of appearance, ``tables`` by one a place that a table is read at.
    """

    context: Context
    mistakes: Mistakes
    emas: list[typed.Ema] = field(default_factory=list)
    tables: list[typed.Table] = field(default_factory=list)
    reducing: bool = False
    averaging: bool = False

    def number(self, expr: ast.Expr) -> TypedExpr | None:
        """``expr`` as a number."""
        match expr:
            case ast.Number():
                return self._literal(expr)
            case ast.Name():
                return self._name(expr)
            case ast.Index():
                return self._index(expr)
            case ast.Lookup():
                return tables.lookup(self, expr)
            case ast.Call():
                return calls.call(self, expr)
            case ast.Reduce():
                return self._reduce(expr)
            case ast.Dot():
                return self._dot(expr)
            case ast.Unary():
                return self.apply("neg", (self.number(expr.operand),), expr.span)
            case ast.Binary():
                return self._binary(expr)

    def condition(
        self, expr: ast.Expr, why: str = "where(condition, a, b) chooses by a comparison"
    ) -> TypedExpr | None:
        """``expr`` as a condition; ``why`` says what one is needed for."""
        if isinstance(expr, ast.Binary) and OPS[BINARY[expr.op].name].boolean:
            return self.apply(BINARY[expr.op].name, (self.number(expr.left), self.number(expr.right)), expr.span)
        text = self.mistakes.text(expr.span)
        self.mistakes.add(
            codes.NOT_A_CONDITION,
            f"'{text}' is a number, not a condition",
            expr.span,
            reason=why,
            fix=f"compare it: '{text} > 0'",
        )
        return None

    def apply(self, op: str, args: tuple[TypedExpr | None, ...], span: Span) -> TypedExpr | None:
        """``op`` of typed arguments; None where an argument is wrong or lies outside the operation's domain."""
        known = tuple(arg for arg in args if arg is not None)
        if len(known) < len(args) or not domains.defined(op, known, self.mistakes):
            return None
        free = frozenset[str]().union(*(arg.free for arg in known))
        values = [constant(arg) for arg in known]
        if None not in values:
            try:
                result = Interval.point(float(apply_constant(op, values)))
            except (ArithmeticError, ValueError) as error:
                domains.no_value(error, span, self.mistakes)
                return None
        elif op == "mul" and same(known[0], known[1]):
            result = ranges.square(known[0].range)
        else:
            result = ranges.RULES[op](*(arg.range for arg in known))
        return typed.Apply(span, free, result, op, known)

    def constant(self, expr: ast.Expr, noun: str) -> Number | None:
        """The value of ``expr``, which may hold numbers and parameters only; ``noun`` names it in a message."""
        typer = Typer(replace(size_context(self.context.constants, noun)), self.mistakes)
        value = typer.number(expr)
        return None if value is None else constant(value)

    def _literal(self, node: ast.Number) -> TypedExpr | None:
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            domains.no_value(OverflowError(), node.span, self.mistakes)
            return None
        return typed.Const(node.span, _CONSTANT, Interval.point(value), node.value)

    def _name(self, node: ast.Name) -> TypedExpr | None:
        name, context = node.id, self.context
        if name in context.constants:
            value = context.constants[name]
            return typed.Const(node.span, _CONSTANT, Interval.point(float(value)), value, name)
        if name in context.dimensions:
            return typed.Dimension(node.span, _CONSTANT, context.dimensions[name], context.aliases.get(name, name))
        if name in context.readable:
            known = context.readable[name]
            if not known.indices:
                return typed.Leaf(node.span, known.free, known.range, name)
            self._needs_indices(name, known.indices, node.span)
        elif name in context.tensors:
            self._needs_indices(name, context.tensors[name], node.span)
        elif name == "bias" and context.place is not None:
            self._needs_indices(name, ("h", "min(distance, 511)"), node.span)
        elif name == "x" and context.linear is not None:
            self.mistakes.add(
                codes.NOT_A_NUMBER,
                "'x' is a vector, the layer's input",
                node.span,
                reason="a gate reads one number a position, head and feature: a projection of x",
                fix="write 'linear(x)'",
            )
        elif name in CALLABLE or name in INDICES:
            what = "a function" if name in CALLABLE else f"an index variable, {INDICES[name]}"
            fix = f"call it: '{name}(...)'" if name in CALLABLE else "use it inside [ ], or in 'sum(j)'"
            self.mistakes.add(codes.NOT_A_NUMBER, f"'{name}' is {what}, not a number", node.span, fix=fix)
        elif name in RESERVED or name in TENSORS:
            self._hidden(f"'{name}'", node.span)
        else:
            options = {*context.constants, *context.dimensions, *context.readable}
            self.mistakes.add(
                codes.UNKNOWN_NAME,
                f"unknown name '{name}'",
                node.span,
                reason=context.sees,
                fix=near(name, options, f"declare it as a parameter: '{name} = ...' after the attention's name"),
            )
        return None

    def _needs_indices(self, name: str, indices: tuple[str, ...], span: Span) -> None:
        right = f"{name}[{', '.join(indices)}]"
        self.mistakes.add(codes.SIGNATURE, f"'{name}' needs its indices", span, fix=f"write '{right}'")

    def _hidden(self, what: str, span: Span, fix: str = "") -> None:
        """Say that ``what`` exists, but not in this kind of expression."""
        noun = self.context.noun
        fix = fix or f"use {self.context.offers}"
        self.mistakes.add(codes.NOT_VISIBLE, f"{noun} cannot see {what}", span, reason=self.context.sees, fix=fix)

    def _index(self, node: ast.Index) -> TypedExpr | None:
        name, context, indices = node.base.id, self.context, tuple(index.id for index in node.indices)
        text = self.mistakes.text(node.span)
        if name in context.readable:
            known = context.readable[name]
            if self._signature(node, known.indices):
                return typed.Leaf(node.span, known.free, known.range, name)
        elif name in context.vectors and not context.tensors:
            if self._signature(node, context.vectors[name]):
                self._vector_alone(node, "the logit")
        elif name in context.tensors:
            if not self._signature(node, context.tensors[name]):
                return None
            if name in SCALARS:
                return typed.Leaf(node.span, frozenset(indices), REALS, name)
            self._vector_alone(node, "the score")
        elif name == "score" and context.score is not None:
            self.mistakes.add(
                codes.NOT_VISIBLE,
                f"the budget cannot see the single score '{text}'",
                node.span,
                reason=context.sees,
                fix="take a statistic of the row: 'mean(score[t])'",
            )
        elif name == "score" and context.place is not None:
            self.mistakes.add(
                codes.MISSING_INDEXER,
                f"there is no indexer whose '{text}' the logit could read",
                node.span,
                fix="add an 'indexer { ... }', or leave the score out",
            )
        elif name in TENSORS or name in ("score", "slope"):
            self._hidden(f"'{text}'", node.span)
        elif name in context.constants:
            self.mistakes.add(
                codes.SIGNATURE, f"'{name}' is a number and has no indices", node.span, fix=f"write '{name}'"
            )
        else:
            options = set(context.tensors) if context.tensors else {"score"} if context.score is not None else set()
            options |= {*context.vectors, *context.readable}
            self.mistakes.add(
                codes.UNKNOWN_NAME,
                f"unknown tensor '{name}'",
                node.base.span,
                reason=context.sees,
                fix=near(name, options, f"use {context.offers}"),
            )
        return None

    def _vector_alone(self, node: ast.Index, noun: str) -> None:
        self.mistakes.add(
            codes.NOT_A_NUMBER,
            f"'{self.mistakes.text(node.span)}' is a vector",
            node.span,
            reason=f"{noun} is a number: vectors meet in a dot product only",
            fix=f"write '{self._dot_text()}'",
        )

    def _dot_text(self) -> str:
        return " . ".join(f"{name}[{', '.join(indices)}]" for name, indices in self.context.vectors.items())

    def _signature(self, node: ast.Index, wanted: tuple[str, ...]) -> bool:
        name, indices = node.base.id, tuple(index.id for index in node.indices)
        if indices == wanted:
            return True
        leak = causality.signature(name, indices, wanted, self.context.noun)
        self.mistakes.add(codes.SIGNATURE, leak.message, node.span, reason=leak.reason, fix=leak.fix)
        return False

    def _dot(self, node: ast.Dot) -> TypedExpr | None:
        sides = [self._vector(side) for side in (node.left, node.right)]
        if None in sides:
            return None
        if sides[0] == sides[1]:
            self.mistakes.add(
                codes.NOT_A_VECTOR,
                f"a dot product takes one q and one k, not '{sides[0]}' twice",
                node.span,
                reason=f"{self.context.noun} compares what a query asks for with what a key offers",
                fix=f"write '{self._dot_text()}'",
            )
            return None
        if not self.context.tensors:
            return typed.Leaf(node.span, frozenset("tsh"), REALS, "dot")
        # The product is commutative: one order in the tree is enough for all that follows.
        return typed.Dot(node.span, frozenset("tjs"), REALS, "q", "k")

    def _vector(self, expr: ast.Expr) -> str | None:
        """The tensor that a side of a dot product reads."""
        text, vectors = self.mistakes.text(expr.span), self.context.vectors
        if not vectors:
            self._hidden(f"'{text}'", expr.span)
            return None
        if isinstance(expr, ast.Index) and expr.base.id in vectors:
            return expr.base.id if self._signature(expr, vectors[expr.base.id]) else None
        if isinstance(expr, ast.Name) and expr.id in vectors and expr.id not in self.context.constants:
            self._needs_indices(expr.id, vectors[expr.id], expr.span)
            return None
        self.mistakes.add(
            codes.NOT_A_VECTOR,
            f"'{text}' is not a vector",
            expr.span,
            reason=f"' . ' is the inner product of {' and '.join(self._dot_text().split(' . '))}",
            fix="multiply numbers with '*'",
        )
        return None

    def _reduce(self, node: ast.Reduce) -> TypedExpr | None:
        op, index, context = node.op.id, node.index.id, self.context
        if op not in REDUCTIONS:
            self.mistakes.add(
                codes.UNKNOWN_FUNCTION,
                f"unknown reduction '{op}'",
                node.op.span,
                fix=near(op, REDUCTIONS, "the reductions are sum, mean and max"),
            )
            if index == "j" and context.tensors:
                replace(self, reducing=True).number(node.body)
            return None
        if index != "j" or not context.tensors:
            leak = causality.reduction(op, index, context.noun)
            span = node.op.span.to(node.index.span)
            self.mistakes.add(codes.FOREIGN_REDUCTION, leak.message, span, reason=leak.reason, fix=leak.fix)
            return None
        if self.reducing:
            self.mistakes.add(
                codes.NESTED, f"'{op}(j)' inside a reduction over j", node.op.span, fix="reduce each factor by itself"
            )
            return None
        body = replace(self, reducing=True).number(node.body)
        if body is None:
            return None
        if "j" not in body.free:
            self.mistakes.add(
                codes.IDLE_REDUCTION,
                f"'{self.mistakes.text(body.span)}' does not vary with j",
                body.span,
                reason=f"'{op}(j)' over equal numbers says nothing about the heads",
                fix="leave the reduction out, or multiply by 'heads'",
            )
            return None
        interval = ranges.reduction(op, body.range, context.heads)
        return typed.Reduce(node.span, body.free - {"j"}, interval, op, body)

    def _binary(self, node: ast.Binary) -> TypedExpr | None:
        op = BINARY[node.op]
        args = self.number(node.left), self.number(node.right)
        if op.boolean:
            text = self.mistakes.text(node.span)
            self.mistakes.add(
                codes.STRAY_COMPARISON,
                f"the comparison '{text}' is not a number",
                node.span,
                reason="only 'where' reads a comparison",
                fix=f"write 'where({text}, 1, 0)'",
            )
            return None
        return self.apply(op.name, args, node.span)
