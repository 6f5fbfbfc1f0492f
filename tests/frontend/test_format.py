"""The formatter changes neither meaning nor comments, and has nothing to do the second time."""

from __future__ import annotations

import re
from itertools import count
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsa_dsl.diagnostics.errors import SpecError
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend import ast, format
from gsa_dsl.frontend.format import RULES, WIDTH, FormattingError, Rule, format_source, same_tree
from gsa_dsl.frontend.parser import parse_with_tokens
from gsa_dsl.testing.strategies import specs
from tests.frontend.specs import EVERY_CLAUSE, EXAMPLES, read

GAPS = (" ", "  ", "\n", "\t", "\r\n", "\n\n\n", " # beside {}\n", "\n# above {}\n", "\n\n  #{}\n\n\n#: {}  \n\n")


def formatted(text: str) -> str:
    return format_source(Source("test.gsa", text))


def comments(text: str) -> list[str]:
    return [comment.rstrip() for comment in re.findall(r"#[^\n]*", text)]


def tokens(text: str) -> list[str]:
    return [str(token) for token in parse_with_tokens(Source("test.gsa", text))[1]]


def scattered(text: str, gaps: list[str]) -> str:
    """The tokens of ``text`` with ``gaps`` between them, over and over; every comment says something else."""
    number = count()
    pieces = tokens(text)
    filled = [gaps[i % len(gaps)] for i in range(len(pieces) + 1)]
    unique = [re.sub(r"\{\}", lambda _: f"{next(number)} é", gap) for gap in filled]
    return unique[0] + "".join(piece + gap for piece, gap in zip(pieces, unique[1:], strict=True))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_formatted(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert formatted(text) == text


@pytest.mark.parametrize("kind", [*get_args(ast.Clause), ast.Setting, ast.Score], ids=lambda kind: kind.__name__)
def test_every_clause_has_a_rule(kind: type[ast.Node]) -> None:
    assert isinstance(RULES[kind], Rule)


@settings(deadline=None, max_examples=40)
@given(text=st.one_of(specs(), st.sampled_from([EVERY_CLAUSE, *(path.read_text("utf-8") for path in EXAMPLES)])))
def test_formatting_keeps_the_meaning_and_is_done_once(text: str) -> None:
    result = formatted(text)
    assert same_tree(read(result), read(text))
    assert formatted(result) == result
    assert comments(result) == comments(text)


@settings(deadline=None, max_examples=60)
@given(
    text=st.one_of(specs(), st.just(EVERY_CLAUSE)),
    gaps=st.lists(st.sampled_from(GAPS), min_size=1, max_size=12),
)
def test_whatever_stands_between_the_tokens(text: str, gaps: list[str]) -> None:
    messy = scattered(text, gaps)
    result = formatted(messy)
    assert same_tree(read(result), read(text))
    assert comments(result) == comments(messy)
    assert formatted(result) == result
    if all(gap.count("\n") < 2 and "#" not in gap for gap in gaps):
        assert result == formatted("\n".join(tokens(text)))
    assert not re.search(r"[ \t\r]\n|\n\n\n|^\n|\n\n\Z|\{\n\n|\n\n *\}", result)


MESSY = """

# about it

#of two

attention a(k = 1, low = -0.5, # the low one
) { # open

  causal scale   - 1/(k + - low)   # é 注意
  gate value= 2*sigmoid(linear(x))per head # of a run
  gate output =((sigmoid(linear(x))))per element
  indexer{heads(4) dim 64 # both
    # of its own
    keys shared


    score[t,s]=max(j)q[t,j].k[s]*2^2^-1
    # before the end
  }
  select top(k+1) tokens
  always first 1,last 2
  bound selected<=k   # short
  bound   flops  <= O ( L^2 )
  assert score in(-inf,1]
  # last
} # end
# after

# all
"""
NEAT = """\
# about it

#of two

attention a(k = 1, low = -0.5  # the low one
) {  # open
  causal
  scale -1 / (k + -low)  # é 注意
  gate value  = 2 * sigmoid(linear(x))  per head  # of a run
  gate output = ((sigmoid(linear(x))))  per element
  indexer {
    heads (4)
    dim 64  # both
    # of its own
    keys shared

    score[t, s] = max(j) q[t, j] . k[s] * 2^2^-1
    # before the end
  }
  select top (k + 1) tokens
  always first 1, last 2
  bound selected <= k  # short
  bound flops    <= O(L^2)
  assert score in (-inf, 1]
  # last
}  # end
# after

# all
"""


def test_a_messy_spec() -> None:
    assert formatted(MESSY) == NEAT


def test_columns_of_a_run_line_up() -> None:
    text = "attention a { gate value = tanh(linear(x)) per head\ngate output = silu(2 * linear(x)) per element }"
    assert formatted(text).splitlines()[1:3] == [
        "  gate value  = tanh(linear(x))      per head",
        "  gate output = silu(2 * linear(x))  per element",
    ]


@pytest.mark.parametrize("between", ["\n\n", "\n# comment\n", "\ncausal\n"])
def test_columns_do_not_line_up_across_something_else(between: str) -> None:
    result = formatted(f"attention a {{ bound flops <= 1{between}bound selected <= 2 }}")
    assert "bound flops <= 1\n" in result
    assert "bound selected <= 2\n" in result


def test_comments_of_neighbours_line_up_unless_their_lines_differ_much() -> None:
    text = "attention a {{ causal # one\nselect top {} tokens # two\n}}"
    assert formatted(text.format("k")).splitlines()[1:3] == [
        "  causal               # one",
        "  select top k tokens  # two",
    ]
    assert "  causal  # one\n" in formatted(text.format("k" * 40))


def test_a_long_line_is_broken_and_a_short_one_joined() -> None:
    statistic = "ema(var(score[t]), decay = 0.99, init = 1)"
    body = f"clamp(k * {statistic} / var(score[t]) + abs(mean(score[t]) / {statistic})\n - count(score[t]), 1,\n k)"
    result = formatted(f"attention a {{ budget[t] = {body} }}")
    assert max(map(len, result.splitlines())) <= WIDTH
    assert result.splitlines()[1:-1] == [
        "  budget[t] = clamp(",
        "    k * ema(var(score[t]), decay = 0.99, init = 1) / var(score[t])",
        "      + abs(mean(score[t]) / ema(var(score[t]), decay = 0.99, init = 1))",
        "      - count(score[t]),",
        "    1,",
        "    k",
        "  )",
    ]
    assert formatted("attention a { scale 1 /\n sqrt(\nhead_dim ) }").splitlines()[1] == "  scale 1 / sqrt(head_dim)"


def test_a_comment_within_an_expression_stays_at_its_place() -> None:
    text = "attention a { budget[t] = clamp( # of the row\n var(score[t]), # what\n# the ends\n1, k) # done\n}"
    assert formatted(text).splitlines()[1:-1] == [
        "  budget[t] = clamp(  # of the row",
        "    var(score[t]),  # what",
        "    # the ends",
        "    1, k)  # done",
    ]


def test_a_wrong_spec_is_not_formatted() -> None:
    with pytest.raises(SpecError):
        formatted("attention a { causal scale }")


def test_a_mistake_of_the_formatter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "_joined", lambda line: " ".join(p.text for p in line).replace("first", "last"))
    with pytest.raises(FormattingError, match="formatting would change what it says"):
        formatted("attention a { causal always first 4 }")


def test_a_lost_comment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "_above", lambda row: iter(()))
    with pytest.raises(FormattingError):
        formatted("attention a {\n# important\ncausal }")


def test_the_options_of_a_choice_get_one_order() -> None:
    text = "attention a { select top k blocks( 64 )per queries(2*8) per kv_head by max # of it\n causal }"
    neat = "attention a {\n  select top k blocks(64) by max per kv_head per queries(2 * 8)  # of it\n  causal\n}\n"
    assert formatted(text) == neat
    assert same_tree(read(text), read(neat))


def test_comments_go_with_the_options_that_they_are_at() -> None:
    text = """\
attention a {
  select top k blocks(64)
    # for the tiles
    per queries(8)  # of eight
    by mean  # its tokens
    per kv_head
}
"""
    assert (
        formatted(text)
        == """\
attention a {
  select top k blocks(64) by mean  # its tokens
    per kv_head
    # for the tiles
    per queries(8)  # of eight
}
"""
    )
    assert formatted(formatted(text)) == formatted(text)
