"""Cost formulas against counting: every operation of a small case is carried out on names and counted once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sympy

from gsa_dsl.sema import typed
from gsa_dsl.sema.cost import CostTable, cost
from gsa_dsl.sema.formulas import KL_FLOPS, KL_GRADIENT_FLOPS, PROBABILITY_FLOPS, RADIX_PASSES, SOFTMAX_FLOPS
from gsa_dsl.sema.symbols import SHAPE, budget_formula, parameters
from gsa_dsl.sema.typed import CheckedSpec, TypedExpr
from tests.sema.specs import EXAMPLES, attention, checked, example, indexer, own_keys, with_budget

L, B, H, HKV, D = 7, 2, 6, 2, 5
SCORES = [
    "sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])",
    "sum(j) w[t, j] * relu(q[t, j] . k[s])",
    "mean(j) exp(b[j]) * tanh(q[t, j] . k[s]) + max(j) (q[t, j] . k[s])",
    "(sum(j) q[t, j] . k[s]) / (1 + (sum(j) abs(w[t, j])))",
    "sum(j) (where(q[t, j] . k[s] > 2 * 3, w[t, j], b[j] ^ 2) + (q[t, j] . k[s]))",
]


class Counter:
    """Evaluates expressions on names instead of numbers; a calculation with a name of its own counts once."""

    def __init__(self, heads: int, dim: int) -> None:
        self.heads, self.dim = heads, dim
        self.cost: dict[str, int] = {}

    @property
    def flops(self) -> int:
        return sum(self.cost.values())

    def run(self, expr: TypedExpr, at: dict[str, int]) -> str:
        match expr:
            case typed.Const(value=value):
                return f"{value}"
            case typed.Dimension(name=name):
                return name
            case typed.Leaf(name="b"):
                return f"b[{at['j']}]"
            case typed.Leaf(name=name):
                return f"{name}{[at['batch'], *(at[i] for i in sorted(expr.free))]}"
            case typed.Dot():
                return self.did(f"q{[at[i] for i in ('batch', 't', 'j')]}.k{[at['batch'], at['s']]}", 2 * self.dim)
            case typed.Statistic(op=op):
                return f"{op}[{at['batch']}, {at['t']}]"
            case typed.Ema(body=body, decay=decay, init=init):
                self.run(body, at)
                return f"ema{decay, init, typed.key(body)}"
            case typed.Reduce(op=op, body=body):
                parts = [self.run(body, {**at, "j": j}) for j in range(self.heads)]
                return self.did(f"{op}({'; '.join(parts)})", self.heads + (op == "mean"))
            case typed.Apply(op=op, args=args):
                parts = [self.run(arg, at) for arg in args]
                constant = not any("[" in part or "ema" in part for part in parts)
                return self.did(f"{op}({', '.join(parts)})", 0 if constant else 1)

    def did(self, name: str, cost: int) -> str:
        self.cost[name] = cost
        return name


def positions() -> Iterator[dict[str, int]]:
    for batch, t in itertools.product(range(B), range(L)):
        yield {"batch": batch, "t": t}


def figures(table: CostTable, construct: str) -> dict[str, float]:
    (row,) = (f for f in table.evaluate(L, H, HKV, D, B=B, itemsize=2) if f.construct == construct)
    return {name: getattr(row, name) for name in ("flops", "bytes", "memory", "selected")}


def visible(spec: CheckedSpec, t: int) -> int:
    """|S_t|: forced keys, then the budget from the rest."""
    if spec.selection is None and spec.forced.span is None:
        return t + 1
    forced = {s for s in range(t + 1) if s < spec.forced.first or s > t - spec.forced.last}
    chosen = 0 if spec.selection is None else min(spec.selection.most, t + 1 - len(forced))
    return len(forced) + chosen


def pairs(spec: CheckedSpec) -> int:
    return sum(visible(spec, t) for t in range(L))


@pytest.mark.parametrize("score", SCORES)
def test_indexer_operations_are_counted(score: str) -> None:
    spec = checked(attention(indexer(score, heads="3", dim="4"), "select top 2 tokens"))
    assert spec.indexer is not None
    counter = Counter(3, 4)
    for at in positions():
        for s in range(at["t"] + 1):
            counter.run(spec.indexer.score, {**at, "s": s})
    assert figures(cost(spec), "indexer")["flops"] == counter.flops


@pytest.mark.parametrize("score", SCORES[:2])
@pytest.mark.parametrize("always", ["", "always first 1, last 2"])
def test_indexer_training_is_counted(score: str, always: str) -> None:
    clauses = [indexer(score, heads="3", dim="4"), "select top 2 tokens", *filter(None, [always])]
    spec = checked(attention(*clauses, "train indexer with kl"))
    assert spec.indexer is not None
    counter = Counter(3, 4)
    for at in positions():
        for s in range(visible(spec, at["t"])):
            counter.run(spec.indexer.score, {**at, "s": s})
    attended = B * pairs(spec)
    probabilities = attended * H * (2 * D + PROBABILITY_FLOPS)
    table = cost(spec)
    assert figures(table, "kl loss")["flops"] == counter.flops + probabilities + KL_FLOPS * attended + B * L
    expected = 3 * counter.flops + probabilities + KL_GRADIENT_FLOPS * attended
    assert figures(table, "kl gradient")["flops"] == expected


@pytest.mark.parametrize(
    ("target", "granularity", "body", "heads"),
    [
        ("value", "element", "sigmoid(linear(x))", HKV),
        ("output", "element", "sigmoid(linear(x) + 0.5)", H),
        ("output", "head", "2 * sigmoid(linear(x)) * sigmoid(linear(x))", H),
    ],
)
def test_gate_operations_are_counted(target: str, granularity: str, body: str, heads: int) -> None:
    spec = checked(attention(f"gate {target} = {body} per {granularity}"))
    counter = Counter(1, 1)
    features = D if granularity == "element" else 1
    for at in positions():
        for h, d in itertools.product(range(heads), range(features)):
            counter.run(spec.gates[0].body, {**at, "h": h, "d": d})
    elements = B * L * heads * D
    found = figures(cost(spec), f"gate {target}")
    assert found["flops"] == counter.flops + elements
    assert found["memory"] == 2 * elements


def test_budget_operations_are_counted() -> None:
    budget = "clamp(k_base * ema(var(score[t]) * 2 + 1) / (1 + var(score[t])) - mean(score[t]), k_min, k_max)"
    spec = checked(with_budget(budget))
    assert spec.selection is not None
    counter = Counter(1, 1)
    for at in positions():
        counter.run(spec.selection.budget, at)
    scores, rows = B * L * (L + 1) // 2, B * L
    statistics = (3 * scores + 4 * rows) + (scores + rows)
    running_mean = rows + 3
    assert figures(cost(spec), "budget")["flops"] == counter.flops + statistics + running_mean


def test_statistics_with_a_constant_are_counted_once_a_constant() -> None:
    one = checked(with_budget("min(top_p(score[t], 0.5) + top_p(score[t], 0.5), 9)"))
    two = checked(with_budget("min(top_p(score[t], 0.5) + top_p(score[t], 0.9), 9)"))
    flops = [figures(cost(spec), "budget")["flops"] for spec in (one, two)]
    assert flops[1] - flops[0] == 37 * B * L * (L + 1) // 2 + 4 * B * L


@pytest.mark.parametrize("clauses", [(), ("always first 2, last 3",), ("always first 20",), ("always last 2",)])
def test_full_attention_sees_every_pair(clauses: tuple[str, ...]) -> None:
    text = attention(*clauses).replace("causal", "full documents")
    table = cost(checked(text))
    seen = [
        sum(not clauses or s < first or abs(t - s) < last for s in range(L))
        for first, last in [forced_of(text)]
        for t in range(L)
    ]
    # Windows cut short at both ends count as whole ones.
    assert table.attended(L) >= sum(seen)
    assert table.attended(L) == L * max(seen)
    assert figures(table, "attention")["flops"] == 4 * B * H * D * table.attended(L)
    assert figures(table, "documents")["memory"] == 8 * B * L


def forced_of(text: str) -> tuple[int, int]:
    spec = checked(text)
    return spec.forced.first, spec.forced.last


@pytest.mark.parametrize(
    "clauses",
    [
        (),
        ("always last 3",),
        ("always first 2, last 3",),
        ("always first 20",),
        (indexer(), "select top 3 tokens"),
        (indexer(), "select top 3.9 tokens", "always first 1, last 2"),
        (indexer(), "select top 30 tokens", "always last 1"),
        (indexer(), "budget[t] = clamp(var(score[t]), 1, 4)", "select top budget tokens"),
    ],
)
def test_attended_pairs_are_counted(clauses: tuple[str, ...]) -> None:
    spec = checked(attention(*clauses))
    table = cost(spec)
    assert table.attended(L) == pairs(spec)
    assert figures(table, "attention")["flops"] == sum(4 * D for _ in range(B * H) for _ in range(pairs(spec)))
    divisions = B * H * L * (D + 2)
    assert figures(table, "softmax")["flops"] == SOFTMAX_FLOPS * B * H * pairs(spec) + divisions
    assert figures(table, "total")["selected"] == max(visible(spec, t) for t in range(L))


def test_selection_reads_every_score_once_a_pass() -> None:
    spec = checked(attention(indexer(), "select top 3 tokens"))
    found = figures(cost(spec), "select")
    scores = B * L * (L + 1) // 2
    assert found["flops"] == 10 * scores
    assert found["bytes"] == (RADIX_PASSES + 1) * 4 * scores + 4 * B * pairs(spec)
    assert found["memory"] == 4 * B * L * 3 + 4 * B * L
    assert found["selected"] == 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_total_is_the_sum(path: Path) -> None:
    table = cost(example(path))
    *rows, total = table.evaluate(L, H, HKV, D, B=B)
    for name in ("flops", "bytes", "memory"):
        assert getattr(total, name) == pytest.approx(sum(getattr(row, name) for row in rows), rel=1e-12)
    assert all(figure >= 0 for row in rows for figure in (row.flops, row.bytes, row.memory, row.selected))


def test_the_indexer_is_never_left_out() -> None:
    text = attention(indexer("sum(j) w[t, j] * relu(q[t, j] . k[s])"), "select top 8 tokens")
    (row,) = (row for row in cost(checked(text)).rows if row.construct == "indexer")
    length, heads, dim, batch = (sympy.Symbol(n, positive=True, integer=True) for n in ("L", "J", "dI", "B"))
    assert sympy.simplify(row.flops - batch * length * (length + 1) / 2 * heads * (2 * dim + 3)) == 0


@pytest.mark.parametrize(
    ("budget", "formula"),
    [
        ("clamp(var(score[t]), k_min, k_max)", "Min(k_max, Max(k_min, J**2/4))"),
        ("clamp(k_base / var(score[t]), k_min, k_max)", "k_max"),
        ("min(count(score[t]), k_max)", "k_max"),
        ("k_max * sigmoid(mean(score[t])) + k_min", None),
        ("k_min + where(var(score[t]) > 1, k_base, k_max / 2)", "k_min + Max(k_base, k_max/2)"),
        ("max(k_max - k_base * min(count(score[t]), 1), k_min)", "Max(k_max, k_min)"),
        ("sqrt(k_max) * 2", "2*sqrt(k_max)"),
        ("k_max / (1 + mean(score[t]))", "k_max"),
        ("abs(0 - k_max)", "k_max"),
    ],
)
def test_the_largest_budget_is_a_formula_of_the_parameters(budget: str, formula: str | None) -> None:
    spec = checked(with_budget(budget))
    assert spec.selection is not None
    table = parameters(spec)
    found = sympy.sympify(budget_formula(spec, table))
    names = {"J": sympy.Symbol("J", positive=True, integer=True), **table}
    if formula is not None:
        assert found == sympy.floor(sympy.sympify(formula, locals=names))
    values: dict[object, object] = {table[name]: value for name, value in spec.params}
    assert found.subs({**values, names["J"]: 4}) == spec.selection.most


# --- blocks, kv heads and runs of queries ----------------------------------------------------------------------------

LONG = 32
KEYS = {"shared": 1, "per kv_head": HKV}
GRAINS = [
    ("shared", "", "select top 2 blocks(4) by max"),
    ("shared", "", "select top 2 blocks(4) by mean per queries(2)"),
    ("per kv_head", "", "select top 2 blocks(2) by sum per kv_head per queries(8)"),
    ("shared", "pool mean", "select top 2 blocks(4) per kv_head"),
    ("per kv_head", "pool max", "select top 2 blocks(4) per kv_head per queries(8)"),
    ("shared", "", "select top 3 tokens per kv_head per queries(4)"),
]


@pytest.mark.parametrize("sees", ["causal", "full"])
@pytest.mark.parametrize(("keys", "pool", "select"), GRAINS)
def test_scores_of_units_are_counted(keys: str, pool: str, select: str, sees: str) -> None:
    score = "sum(j) w[t, j] * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j])"
    text = attention(indexer(score, heads="3", dim="4", keys=f"{keys} {pool}"), select, "always last 1")
    spec = checked(text.replace("causal", sees))
    assert spec.indexer is not None
    assert spec.selection is not None
    block, run = spec.selection.block, spec.selection.queries
    choosers = HKV if spec.selection.per_kv_head else 1
    counter, tokens, columns = Counter(3, 4), 0, 0
    for batch, g, t in itertools.product(range(B), range(choosers), range(0, LONG, run)):
        seen = [s for s in range(LONG) if s <= t or sees == "full"]
        blocks = sorted({s // block for s in seen})
        if pool and sees == "causal":
            blocks.remove(t // block)
        columns += len(blocks)
        tokens += len(seen)
        for s in blocks if pool else seen:
            counter.run(spec.indexer.score, {"batch": batch * HKV + g, "t": t, "s": s})
    reducing = tokens if spec.selection.reduce is not None else 0
    pooling = B * KEYS[keys] * 4 * {"": 0, "pool mean": LONG + LONG // block, "pool max": LONG}[pool]
    found = {row.construct: row for row in cost(spec).evaluate(LONG, H, HKV, D, B=B, itemsize=2)}
    assert found["indexer"].flops == counter.flops + reducing + pooling
    assert found["select"].flops == 10 * columns
    assert found["select"].selected == spec.selection.most * block
    assert found["always"].selected == spec.forced.most(causal=spec.causal) * block


def test_the_attentions_own_keys_are_counted_by_query_heads() -> None:
    score = "sum(j) tanh(q[t, j] . k[s] / sqrt(dim))"
    spec = checked(attention(own_keys(score, "pool mean"), "select top 2 blocks(4) per kv_head", "always diagonal"))
    assert spec.indexer is not None
    counter = Counter(H // HKV, D)
    for batch, g, t in itertools.product(range(B), range(HKV), range(LONG)):
        for c in range(t // 4):
            counter.run(spec.indexer.score, {"batch": batch * HKV + g, "t": t, "s": c})
    table = cost(spec)
    (found,) = (row for row in table.evaluate(LONG, H, HKV, D, B=B) if row.construct == "indexer")
    assert found.flops == counter.flops + B * HKV * D * (LONG + LONG // 4)
    assert not {SHAPE["J"], SHAPE["dI"]} & {symbol for symbol, _ in table.values}


@pytest.mark.parametrize("length", [1, 3, 31, 100])
@pytest.mark.parametrize(("keys", "pool", "select"), GRAINS)
def test_no_length_costs_less_than_nothing(keys: str, pool: str, select: str, length: int) -> None:
    spec = checked(attention(indexer(keys=f"{keys} {pool}"), select, "always last 1", "train indexer with kl"))
    *rows, total = cost(spec).evaluate(length, H, HKV, D)
    assert all(figure >= 0 for row in rows for figure in (row.flops, row.bytes, row.memory, row.selected))
    assert total.selected <= length


@pytest.mark.parametrize(("keys", "pool", "select"), GRAINS)
def test_no_fewer_pairs_are_counted_than_are_attended_to(keys: str, pool: str, select: str) -> None:
    spec = checked(attention(indexer(keys=f"{keys} {pool}"), select, "always last 1"))
    assert spec.selection is not None
    block, run = spec.selection.block, spec.selection.queries
    attended = 0
    for t in range(LONG):
        chosen = min(spec.selection.most, (t - t % run) // block)
        attended += min(t + 1, chosen * block + t % block + 1)
    assert attended <= cost(spec).attended(LONG) <= attended + LONG * (block - 1) + LONG * run * block


def test_a_sum_over_a_block_widens_what_a_budget_may_be() -> None:
    budget = "min(max(score[t]) + k_min, k_max)"
    params = "(k_min = 1, k_max = 1000)"
    texts = [with_budget(budget, params=params).replace("tokens", unit) for unit in ("tokens", "blocks(8) by sum")]
    one, eight = (checked(text) for text in texts)
    assert one.selection is not None
    assert eight.selection is not None
    assert (one.selection.most, eight.selection.most) == (5, 33)
    found = sympy.sympify(budget_formula(eight, parameters(eight)))
    values: dict[object, object] = {parameters(eight)[name]: value for name, value in eight.params}
    assert found.subs({**values, sympy.Symbol("J", positive=True, integer=True): 4}) == 33
