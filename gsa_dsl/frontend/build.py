"""The parse tree turned into the syntax tree: one method a rule of ``grammar.lark``, spans taken from the parser."""

from __future__ import annotations

from lark import Token, Tree
from lark.exceptions import VisitError
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive, v_args

from gsa_dsl.diagnostics.span import Source, Span
from gsa_dsl.frontend import ast


def build(source: Source, tree: Tree[Token]) -> ast.Spec:
    """The spec that ``tree`` (rooted at the rule ``start``) spells."""
    try:
        spec: ast.Spec = _Builder(source).transform(tree)
    except VisitError as error:
        raise error.orig_exc from error
    return spec


def token_span(token: Token) -> Span:
    """Where ``token`` stands; it must come from the lexer, which sets all six positions."""
    places = (token.start_pos, token.end_pos, token.line, token.column, token.end_line, token.end_column)
    start, end, line, column, end_line, end_column = (place for place in places if place is not None)
    return Span(start, end, line, column, end_line, end_column)


def _span(meta: Meta) -> Span:
    return Span(meta.start_pos, meta.end_pos, meta.line, meta.column, meta.end_line, meta.end_column)


def _name(token: Token) -> ast.Name:
    return ast.Name(token_span(token), str(token))


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


@v_args(meta=True)
class _Builder(Transformer_NonRecursive[Token, ast.Spec]):
    """Children arrive in source order with punctuation and silent keywords already dropped."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def start(self, meta: Meta, children: list[Token | ast.Param | ast.Name | ast.Clause]) -> ast.Spec:
        name, *rest = children
        assert isinstance(name, Token)
        params = tuple(child for child in rest if isinstance(child, ast.Param))
        clauses = tuple(child for child in rest if isinstance(child, ast.Clause))
        extends = next((child for child in rest if isinstance(child, ast.Name)), None)
        return ast.Spec(_span(meta), self._source, _name(name), params, clauses, extends)

    def param(self, meta: Meta, children: tuple[Token, ast.Expr]) -> ast.Param:
        name, default = children
        return ast.Param(_span(meta), _name(name), default)

    def extends(self, meta: Meta, children: tuple[Token]) -> ast.Name:
        (base,) = children
        return _name(base)

    # --- clauses -----------------------------------------------------------------------------------------------------

    def causal(self, meta: Meta, children: list[Token]) -> ast.Causal:
        return ast.Causal(_span(meta))

    def full(self, meta: Meta, children: list[Token]) -> ast.Full:
        return ast.Full(_span(meta))

    def documents(self, meta: Meta, children: list[Token]) -> ast.Documents:
        return ast.Documents(_span(meta))

    def scale(self, meta: Meta, children: tuple[ast.Expr]) -> ast.Scale:
        (value,) = children
        return ast.Scale(_span(meta), value)

    def logit(self, meta: Meta, children: tuple[ast.Index, ast.Expr]) -> ast.Logit:
        head, body = children
        return ast.Logit(_span(meta), head, body)

    def sink(self, meta: Meta, children: list[Token]) -> ast.Sink:
        return ast.Sink(_span(meta))

    def gate(
        self, meta: Meta, children: tuple[Token, ast.Expr, Token, Token] | tuple[Token, ast.Expr, Token, Token, Token]
    ) -> ast.Gate:
        target, body, _, granularity, *starts = children
        return ast.Gate(_span(meta), _name(target), body, _name(granularity), *map(_name, starts))

    def indexer(self, meta: Meta, children: list[ast.Setting | ast.Score]) -> ast.Indexer:
        settings = tuple(child for child in children if isinstance(child, ast.Setting))
        scores = tuple(child for child in children if isinstance(child, ast.Score))
        return ast.Indexer(_span(meta), settings, scores)

    def setting(self, meta: Meta, children: tuple[Token, ast.Expr]) -> ast.Setting:
        key, value = children
        return ast.Setting(_span(meta), _name(key), value)

    def keys(self, meta: Meta, children: list[Token]) -> ast.Setting:
        key, *per, value = children
        return ast.Setting(_span(meta), _name(key), _name(value), per=bool(per))

    def pool(self, meta: Meta, children: tuple[Token, Token]) -> ast.Setting:
        key, value = children
        return ast.Setting(_span(meta), _name(key), _name(value))

    def score(self, meta: Meta, children: tuple[ast.Index, ast.Expr]) -> ast.Score:
        head, body = children
        return ast.Score(_span(meta), head, body)

    def budget(self, meta: Meta, children: tuple[ast.Index, ast.Expr]) -> ast.Budget:
        head, body = children
        return ast.Budget(_span(meta), head, body)

    def select(self, meta: Meta, children: list[Token | ast.Expr | ast.Option]) -> ast.Select:
        count, unit, *rest = children
        assert isinstance(count, ast.Expr)
        assert isinstance(unit, Token)
        size = next((child for child in rest if isinstance(child, ast.Expr)), None)
        # Their order says nothing; in the tree they stand in one.
        options = sorted((child for child in rest if isinstance(child, ast.Option)), key=ast.Option.place)
        return ast.Select(_span(meta), count, _name(unit), size, tuple(options))

    def option(self, meta: Meta, children: tuple[Token, Token] | tuple[Token, Token, ast.Expr]) -> ast.Option:
        joint, choice, *size = children
        return ast.Option(_span(meta), _name(joint), _name(choice), *size)

    def always(self, meta: Meta, children: list[ast.AlwaysItem]) -> ast.Always:
        return ast.Always(_span(meta), tuple(children))

    def always_item(self, meta: Meta, children: tuple[Token] | tuple[Token, ast.Expr]) -> ast.AlwaysItem:
        kind, *count = children
        return ast.AlwaysItem(_span(meta), _name(kind), *count)

    def train(self, meta: Meta, children: list[Token | ast.Keyword]) -> ast.Train:
        method, *keywords = children
        assert isinstance(method, Token)
        return ast.Train(_span(meta), _name(method), tuple(k for k in keywords if isinstance(k, ast.Keyword)))

    def bound(self, meta: Meta, children: tuple[Token, ast.Expr | Tree[ast.Expr]]) -> ast.Bound:
        quantity, body = children
        if isinstance(body, Tree):
            (inner,) = body.children
            assert not isinstance(inner, Tree)
            return ast.Bound(_span(meta), _name(quantity), inner, asymptotic=True)
        return ast.Bound(_span(meta), _name(quantity), body, asymptotic=False)

    def big_o(self, meta: Meta, children: list[ast.Expr]) -> Tree[ast.Expr]:
        return Tree("big_o", list(children), meta)

    def assert_(self, meta: Meta, children: tuple[Token, Token, ast.Expr, ast.Expr, Token]) -> ast.Assert:
        subject, left, low, high, right = children
        return ast.Assert(_span(meta), _name(subject), low, high, left == "[", right == "]")

    def require(self, meta: Meta, children: tuple[ast.Expr]) -> ast.Require:
        (condition,) = children
        return ast.Require(_span(meta), condition)

    def removed(self, meta: Meta, children: list[Token]) -> list[ast.Name]:
        return [_name(token) for token in children]

    def without(self, meta: Meta, children: tuple[list[ast.Name]]) -> ast.Without:
        clause, *which = children[0]
        return ast.Without(_span(meta), clause, which[0] if which else None)

    # --- expressions -------------------------------------------------------------------------------------------------

    def number(self, meta: Meta, children: tuple[Token]) -> ast.Number:
        (token,) = children
        return ast.Number(_span(meta), _number(token))

    def name(self, meta: Meta, children: tuple[Token]) -> ast.Name:
        (token,) = children
        return _name(token)

    def index(self, meta: Meta, children: list[Token]) -> ast.Index:
        base, *indices = children
        return ast.Index(_span(meta), _name(base), tuple(map(_name, indices)))

    def lookup(self, meta: Meta, children: list[Token | ast.Expr]) -> ast.Lookup:
        base, *places = (_name(child) if isinstance(child, Token) else child for child in children)
        assert isinstance(base, ast.Name)
        return ast.Lookup(_span(meta), base, tuple(places))

    def call(self, meta: Meta, children: list[Token | ast.Expr | ast.Keyword]) -> ast.Call:
        func, *rest = children
        assert isinstance(func, Token)
        args = tuple(child for child in rest if isinstance(child, ast.Expr))
        keywords = tuple(child for child in rest if isinstance(child, ast.Keyword))
        return ast.Call(_span(meta), _name(func), args, keywords)

    def keyword(self, meta: Meta, children: tuple[Token, ast.Expr]) -> ast.Keyword:
        name, value = children
        return ast.Keyword(_span(meta), _name(name), value)

    def reduce(self, meta: Meta, children: tuple[Token, Token, ast.Expr]) -> ast.Reduce:
        op, index, body = children
        return ast.Reduce(_span(meta), _name(op), _name(index), body)

    def dot(self, meta: Meta, children: tuple[ast.Expr, ast.Expr]) -> ast.Dot:
        left, right = children
        return ast.Dot(_span(meta), left, right)

    def unary(self, meta: Meta, children: tuple[Token, ast.Expr]) -> ast.Unary:
        op, operand = children
        return ast.Unary(_span(meta), str(op), operand)

    def binary(self, meta: Meta, children: tuple[ast.Expr, Token, ast.Expr]) -> ast.Binary:
        left, op, right = children
        return ast.Binary(_span(meta), str(op), left, right)
