"""Typing of calls: scalar functions, ``linear(x)``, row statistics and the running mean ``ema``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.suggest import did_you_mean
from gsa_dsl.frontend import ast
from gsa_dsl.ops import FUNCTIONS, LEVELS, REDUCTIONS, STATISTICS, Op
from gsa_dsl.sema import causality, ranges, sizes, typed
from gsa_dsl.sema.interval import REALS
from gsa_dsl.sema.keywords import keyword_numbers, no_keywords
from gsa_dsl.sema.names import near
from gsa_dsl.sema.typed import TypedExpr, same

if TYPE_CHECKING:
    from gsa_dsl.sema.types import Typer

_PLANNED = ("threshold", "softmax")


def call(typer: Typer, node: ast.Call) -> TypedExpr | None:
    """The typed call, or None after telling what is wrong with it."""
    name = node.func.id
    if name == "linear":
        return _linear(typer, node)
    if name == "given":
        return _given(typer, node)
    if name == "ema":
        return _ema(typer, node)
    one_row = name in STATISTICS and (name not in FUNCTIONS or (len(node.args) == 1 and typer.context.score))
    if one_row or name in LEVELS:
        return _statistic(typer, node)
    if name in FUNCTIONS:
        return _function(typer, node, FUNCTIONS[name])
    _unknown(typer, node)
    return None


def _unknown(typer: Typer, node: ast.Call) -> None:
    name = node.func.id
    if name in REDUCTIONS:
        fix = "write 'sum(j) ...'" if typer.context.tensors else "write 'mean(score[t]) * count(score[t])'"
        typer.mistakes.add(codes.UNKNOWN_FUNCTION, f"'{name}' needs the index it runs over", node.func.span, fix=fix)
        return
    if name in _PLANNED:
        typer.mistakes.add(
            codes.UNSUPPORTED,
            f"'{name}' cannot be compiled yet",
            node.func.span,
            reason=typer.context.sees,
            fix=f"use {typer.context.offers}",
        )
        return
    options = {*FUNCTIONS, *((*STATISTICS, *LEVELS, "ema") if typer.context.score is not None else ())}
    if typer.context.linear is not None:
        options.update(("linear", "given"))
    if typer.context.tensors:
        options.update(REDUCTIONS)
    typer.mistakes.add(
        codes.UNKNOWN_FUNCTION,
        f"unknown function '{name}'",
        node.func.span,
        fix=near(name, options, f"the functions are {', '.join(FUNCTIONS)}"),
    )


def _arity(typer: Typer, node: ast.Call, arity: int, usage: str) -> bool:
    if len(node.args) == arity:
        return True
    plural = "argument" if arity == 1 else "arguments"
    typer.mistakes.add(
        codes.WRONG_ARITY,
        f"'{node.func.id}' takes {arity} {plural}, not {len(node.args)}",
        node.span,
        fix=f"write '{usage}'",
    )
    return False


def _function(typer: Typer, node: ast.Call, op: Op) -> TypedExpr | None:
    no_keywords(typer, node)
    usages = {"clamp": "clamp(x, low, high)", "where": "where(condition, a, b)"}
    plain = f"{op.spelling}({', '.join(('x', 'y', 'z')[: op.arity])})"
    if not _arity(typer, node, op.arity, usages.get(op.name, plain)):
        return None
    if op.name == "where":
        condition, *branches = node.args
        args = (typer.condition(condition), *(typer.number(arg) for arg in branches))
    else:
        args = tuple(typer.number(arg) for arg in node.args)
    return None if node.keywords else typer.apply(op.name, args, node.span)


def _linear(typer: Typer, node: ast.Call) -> TypedExpr | None:
    free, mistakes = typer.context.linear, typer.mistakes
    if free is None:
        _gates_only(typer, node, "linear(x)")
        return None
    settings = keyword_numbers(typer, "linear", node.keywords, {"features": 1})
    if not _arity(typer, node, 1, "linear(x)"):
        return None
    argument = node.args[0]
    if not (isinstance(argument, ast.Name) and argument.id == "x"):
        mistakes.add(
            codes.NOT_VISIBLE,
            f"'linear' projects the layer's input 'x', not '{mistakes.text(argument.span)}'",
            argument.span,
            fix="write 'linear(x)'",
        )
        return None
    features = None
    for keyword in node.keywords:
        if keyword.name.id == "features":
            features = sizes.whole(settings["features"], keyword.value, "'features'", 1, mistakes)
    return typed.Leaf(node.span, free, REALS, typed.LINEAR, features)


def _given(typer: Typer, node: ast.Call) -> TypedExpr | None:
    if typer.context.linear is None:
        _gates_only(typer, node, "given(...)")
        return None
    no_keywords(typer, node)
    if not _arity(typer, node, 1, "given(mask)") or node.keywords:
        return None
    argument = node.args[0]
    if isinstance(argument, ast.Name):
        return typed.Leaf(node.span, typer.context.linear, REALS, f"given({argument.id})")
    typer.mistakes.add(
        codes.GIVEN_NAME,
        f"'given' takes a name, not '{typer.mistakes.text(argument.span)}'",
        argument.span,
        reason="the tensor is passed under that name at the call",
        fix="write 'given(mask)' and pass gates={'mask': ...}",
    )
    return None


def _gates_only(typer: Typer, node: ast.Call, what: str) -> None:
    typer.mistakes.add(
        codes.NOT_VISIBLE,
        f"{typer.context.noun} cannot see '{what}'",
        node.span,
        reason=typer.context.sees,
        fix="use it in a 'gate'",
    )


def _statistic(typer: Typer, node: ast.Call) -> TypedExpr | None:
    name, mistakes, score = node.func.id, typer.mistakes, typer.context.score
    if score is None:
        fix = "use it in 'budget[t] = ...'"
        if name in REDUCTIONS and typer.context.tensors:
            fix = f"write '{name}(j) ...' to reduce over the indexer's heads"
        mistakes.add(
            codes.NOT_VISIBLE,
            f"{typer.context.noun} cannot see the row statistic '{name}'",
            node.span,
            reason=typer.context.sees,
            fix=fix,
        )
        return None
    no_keywords(typer, node)
    if not _arity(typer, node, 2 if name in LEVELS else 1, causality.usage(name)) or node.keywords:
        return None
    row, *levels = node.args
    level = _level(typer, name, levels[0]) if levels else None
    if isinstance(row, ast.Index) and row.base.id == "score":
        indices = tuple(index.id for index in row.indices)
        if indices == ("t",):
            if levels and level is None:
                return None
            interval = ranges.statistic(name, score)
            if name == "top_p" and level == 1:
                # No finite score has a softmax of 0: all of them hold all of it.
                return typed.Statistic(node.span, frozenset("t"), interval, "count")
            return typed.Statistic(node.span, frozenset("t"), interval, name, level)
        leak = causality.other_row(name, indices)
    elif isinstance(row, ast.Name) and row.id == "score":
        leak = causality.all_scores(name, typer.context.noun)
    elif isinstance(row, ast.Name | ast.Index) and did_you_mean(_base(row), ["score"]):
        leak = replace(causality.other_row(name, ("t",)), message=f"unknown row '{mistakes.text(row.span)}'")
        leak = replace(leak, fix="did you mean 'score[t]'?")
    else:
        leak = causality.whole_batch(name, mistakes.text(row.span), typer.context.noun)
    mistakes.add(codes.OTHER_ROWS, leak.message, node.span, reason=leak.reason, fix=leak.fix)
    return None


def _level(typer: Typer, name: str, expr: ast.Expr) -> float | None:
    """The constant that a statistic takes beside the row."""
    value = typer.constant(expr, f"the second argument of '{name}'")
    if value is None or name != "top_p" or 0 < value <= 1:
        return None if value is None else float(value)
    typer.mistakes.add(
        codes.BAD_MASS,
        f"'top_p' cannot look for a mass of {value:g}",
        expr.span,
        reason="the softmax of a row adds up to 1: a share of it lies in (0, 1]",
        fix=f"write '{causality.usage('top_p')}'",
    )
    return None


def _base(row: ast.Name | ast.Index) -> str:
    return row.id if isinstance(row, ast.Name) else row.base.id


def _ema(typer: Typer, node: ast.Call) -> TypedExpr | None:
    mistakes = typer.mistakes
    if typer.context.score is None:
        mistakes.add(
            codes.NOT_VISIBLE,
            f"{typer.context.noun} cannot see the running mean 'ema'",
            node.span,
            reason=typer.context.sees,
            fix="use it in 'budget[t] = ...'",
        )
        return None
    if typer.averaging:
        mistakes.add(codes.NESTED, "'ema' inside an 'ema'", node.span, fix="average once, with a larger decay")
        return None
    settings = keyword_numbers(typer, "ema", node.keywords, {"decay": 0.99, "init": 1})
    if not _arity(typer, node, 1, "ema(var(score[t]), decay = 0.99, init = 1)"):
        return None
    body = replace(typer, averaging=True).number(node.args[0])
    decay, init = float(settings["decay"]), float(settings["init"])
    if not 0 <= decay < 1:
        span = next(k.value.span for k in node.keywords if k.name.id == "decay")
        mistakes.add(
            codes.BAD_KEYWORD,
            f"the decay of an ema lies in [0, 1), not at {decay:g}",
            span,
            reason="each step keeps 'decay' of the old mean and takes '1 - decay' of the new value",
            fix="write 'decay = 0.99'",
        )
        return None
    if body is None:
        return None
    if "t" not in body.free:
        mistakes.add(
            codes.IDLE_REDUCTION,
            f"'{mistakes.text(body.span)}' is constant: its running mean is itself",
            node.span,
            fix="average a statistic: 'ema(var(score[t]))'",
        )
        return None
    return _slot(typer, typed.Ema(node.span, frozenset(), ranges.running_mean(body.range, init), body, 0, decay, init))


def _slot(typer: Typer, new: typed.Ema) -> typed.Ema:
    """``new`` with the slot of an equal running mean, or with the next free one."""
    for old in typer.emas:
        if same(old.body, new.body) and (old.decay, old.init) == (new.decay, new.init):
            return replace(new, slot=old.slot)
    numbered = replace(new, slot=len(typer.emas))
    typer.emas.append(numbered)
    return numbered
