"""``extends``: a spec's parameters and clauses together with those it inherits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from gsa_dsl.diagnostics import semantic_codes as codes
from gsa_dsl.diagnostics.errors import Diagnostic, Label, SpecError
from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast
from gsa_dsl.frontend.parser import parse
from gsa_dsl.sema.mistakes import Mistakes

N = TypeVar("N", bound=ast.Node)
Key = tuple[str, str]
"""What a clause is about: its keyword, and what tells several of them apart."""


def inherit(tree: ast.Spec, mistakes: Mistakes) -> ast.Spec:
    """``tree`` with what it inherits and without its ``extends`` and ``without``.

    A clause replaces the inherited ones about the same; requirements add up. Parameters keep the base's order, new ones
    come last. Raises SpecError where the base has syntax mistakes, or is not known because the spec has no folder.
    """
    own = tuple(clause for clause in tree.clauses if not isinstance(clause, ast.Without))
    removals = [clause for clause in tree.clauses if isinstance(clause, ast.Without)]
    if tree.extends is None:
        for removal in removals:
            _idle(removal, "this spec extends no other", "leave it out", mistakes)
        return replace(tree, clauses=own)
    if tree.source.base is None:
        raise SpecError(tree.source, (_no_folder(tree.extends),))
    base = inherit(_of(parse(tree.source.base), tree.source.base), mistakes)
    replaced = {_about(clause): clause for clause in own if not isinstance(clause, ast.Require)}
    inherited = {_about(clause) for clause in base.clauses}
    removed: set[Key] = set()
    for removal in removals:
        key = (removal.clause.id, "" if removal.which is None else removal.which.id)
        if key in replaced:
            label = Label(replaced[key].span, "this replaces it")
            _idle(removal, "a clause replaces the inherited one by itself", "leave it out", mistakes, (label,))
        elif key not in inherited:
            has = ", ".join(f"'without {' '.join(about).strip()}'" for about in sorted(inherited) if about != _VISIBLE)
            _idle(removal, f"'{base.name.id}' has no such clause", f"leave it out, or write {has}", mistakes)
        removed.add(key)
    kept = tuple(clause for clause in base.clauses if _about(clause) not in {*replaced, *removed})
    return replace(tree, params=_params(base.params, tree.params), clauses=(*kept, *own), extends=None)


def _of(node: N, source: Source) -> N:
    """``node`` and all in it with spans that say they are of ``source``."""

    def known(value: object) -> object:
        if isinstance(value, Span):
            return replace(value, source=source)
        if isinstance(value, tuple):
            return tuple(known(item) for item in value)
        return _of(value, source) if isinstance(value, ast.Node) else value

    parts: dict[str, Any] = {f.name: known(getattr(node, f.name)) for f in fields(node)}
    return replace(node, **parts)


_VISIBLE: Key = ("causal or full", "")


def _about(clause: ast.Clause) -> Key:
    match clause:
        case ast.Causal() | ast.Full():
            return _VISIBLE
        case ast.Gate(target=target):
            return "gate", target.id
        case ast.Bound(quantity=quantity):
            return "bound", quantity.id
        case ast.Assert(subject=subject):
            return "assert", subject.id
    return type(clause).__name__.lower(), ""


def _params(inherited: tuple[ast.Param, ...], own: tuple[ast.Param, ...]) -> tuple[ast.Param, ...]:
    places = {param.name.id: place for place, param in enumerate(inherited)}
    merged = list(inherited)
    for param in own:
        place = places.pop(param.name.id, None)
        if place is None:
            merged.append(param)
        else:
            merged[place] = param
    return tuple(merged)


def _idle(removal: ast.Without, reason: str, fix: str, mistakes: Mistakes, labels: tuple[Label, ...] = ()) -> None:
    message = f"'{mistakes.text(removal.span)}' removes nothing"
    mistakes.add(codes.IDLE_WITHOUT, message, removal.span, reason=reason, fix=fix, labels=labels)


def _no_folder(base: ast.Name) -> Diagnostic:
    return Diagnostic(
        codes.NO_FOLDER,
        f"'{base.id}' is not known here",
        base.span,
        reason=f"'extends {base.id}' reads {base.id}.gsa from the folder of the spec, and this text has none",
        fix=f"save it beside {base.id}.gsa, or compile it with bases={{'{base.id}': ...}}",
    )
