"""Whether an operation is defined for everything its arguments can be, and what to write where it is not."""

from __future__ import annotations

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.span import Span
from gsa_dsl.sema import typed
from gsa_dsl.sema.constants import constant
from gsa_dsl.sema.interval import Interval
from gsa_dsl.sema.mistakes import Mistakes
from gsa_dsl.sema.typed import TypedExpr


def defined(op: str, args: tuple[TypedExpr, ...], mistakes: Mistakes) -> bool:
    """Whether ``op`` has a value for all arguments in their ranges; tells why not.

    Division by 0 has one (IEEE), except by what is known when an attention is compiled.
    """
    x = args[0]
    below = x.range.low < 0
    match op:
        case "log" if below or (x.range.low == 0 and x.range.low_closed):
            return _refuse(x, "log", "x > 0", "1e-6", mistakes)
        case "sqrt" if below:
            return _refuse(x, "sqrt", "x >= 0", "0", mistakes)
        case "div" if any(isinstance(node, typed.Dimension) for node in typed.walk(args[1])):
            return _nonzero(args[1], mistakes)
        case "pow":
            return _power(x, args[1], mistakes)
        case "clamp":
            return _clamp(args, mistakes)
    return True


def no_value(error: Exception, span: Span, mistakes: Mistakes) -> None:
    """Tell a constant that cannot be computed; ``error`` is what computing it raised."""
    text = mistakes.text(span)
    match error:
        case ZeroDivisionError():
            reason = "it divides by zero"
        case OverflowError():
            reason = "it is too large for a float"
        case _:
            reason = "an operation in it is undefined there"
    mistakes.add(codes.DOMAIN, f"'{text}' has no value", span, reason=reason, fix="give other numbers")


def _refuse(x: TypedExpr, function: str, needs: str, floor: str, mistakes: Mistakes) -> bool:
    text = mistakes.text(x.span)
    mistakes.add(
        codes.DOMAIN,
        f"'{function}' of a value in {x.range}",
        x.span,
        reason=f"{function} needs {needs}; '{text}' can be anything in {x.range}",
        fix=f"write '{function}(max({text}, {floor}))'",
    )
    return False


def _nonzero(divisor: TypedExpr, mistakes: Mistakes) -> bool:
    """Numbers of the head shape are computed at compile time, where 1 / 0 has no IEEE result to fall back on."""
    if not Interval.point(0.0).inside(divisor.range):
        return True
    text = mistakes.text(divisor.span)
    mistakes.add(
        codes.DOMAIN,
        f"'{text}' may be 0",
        divisor.span,
        reason=f"it lies in {divisor.range}, and something is divided by it at compile time",
        fix=f"write 'max({text}, 1)'",
    )
    return False


def _power(x: TypedExpr, exponent: TypedExpr, mistakes: Mistakes) -> bool:
    value = constant(exponent)
    text, power = mistakes.text(x.span), mistakes.text(exponent.span)
    if value is None:
        mistakes.add(
            codes.VARIABLE_EXPONENT,
            f"the exponent '{power}' varies",
            exponent.span,
            reason="'^' takes a constant exponent",
            fix=f"write 'exp({power} * log(...))' with a positive base",
        )
        return False
    if value != int(value) and x.range.low < 0:
        mistakes.add(
            codes.DOMAIN,
            f"'^ {power}' of a value in {x.range}",
            x.span,
            reason="a power with a fractional exponent needs a base >= 0",
            fix=f"write 'max({text}, 0) ^ {power}'",
        )
        return False
    return True


def _clamp(args: tuple[TypedExpr, ...], mistakes: Mistakes) -> bool:
    _, low, high = args
    if low.range.low <= high.range.high:
        return True
    mistakes.add(
        codes.CROSSED_CLAMP,
        f"clamp to an empty interval: '{mistakes.text(low.span)}' is above '{mistakes.text(high.span)}'",
        low.span.to(high.span),
        reason=f"the lower end lies in {low.range}, the upper end in {high.range}",
        fix="swap the ends, or give other values",
    )
    return False
