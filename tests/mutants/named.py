"""Mutants written by hand: the mistakes that people make in attention kernels, each by its name."""
# ruff: noqa: E501 - a fault is a line, as wide as what it changes

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Mutant


@dataclass(frozen=True)
class Fault:
    """In ``file``, the ``place``-th ``old`` (from 0) becomes ``new``."""

    what: str
    file: str
    old: str
    new: str
    place: int = 0


_WALK = "templates/kernels/walk.py.jinja"
_ATTEND = "templates/kernels/attend.py.jinja"
_ROWS = "templates/macros/attend.jinja"
_GATHER = "templates/kernels/gather.py.jinja"
_BACK = "templates/kernels/attend_bwd.py.jinja"
_KEYS = "templates/kernels/attend_bwd_key.py.jinja"
_RANKS = "templates/kernels/ranks.py.jinja"
_THRESHOLD = "templates/kernels/threshold.py.jinja"
_LISTS = "templates/kernels/lists.py.jinja"
_BUDGET = "templates/macros/budget.jinja"
_MARK = "templates/kernels/mark.py.jinja"
_SETTLE = "templates/kernels/settle.py.jinja"
_STRIP = "templates/macros/strip.jinja"
_BLOCKS = "templates/kernels/score_blocks.py.jinja"
_POOL = "templates/host/pool.py.jinja"
_MEAN = "templates/kernels/pool.py.jinja"
_LOSS = "templates/kernels/loss.py.jinja"
_GATE = "templates/kernels/input_gate.py.jinja"
_HEAD = "templates/kernels/index_grad.py.jinja"
_INDEX = "templates/macros/index_grad.jinja"
_STACKED = "templates/kernels/index_stack.py.jinja"
_TERMS = "templates/kernels/stack.py.jinja"
_COMMON = "templates/macros/common.jinja"
_LOGIT = "templates/macros/logit.jinja"
_EAGER = "templates/eager.py.jinja"
_HOST = "templates/host/attend.py.jinja"
_CHOOSE = "templates/host/select.py.jinja"
_DERIVE = "gsa_dsl/passes/derivative.py"
_CANON = "gsa_dsl/passes/canonicalize.py"
_LOWER = "gsa_dsl/ir/lower.py"

FAULTS = (
    Fault("a stale maximum", _ATTEND, "    return better, norm * shrink", "    return best, norm * shrink"),
    Fault("the maximum of this block alone", _ATTEND, "tl.maximum(best, tl.max(logits, 1))", "tl.max(logits, 1)"),
    Fault("the output is not rescaled", _ATTEND, "acc * shrink[:, None] + tl.dot", "acc + tl.dot"),
    Fault("the normaliser is not rescaled", _ATTEND, "norm * shrink + tl.sum", "norm + tl.sum"),
    Fault("the output is not normalised", _ROWS, "acc / tl.where(empty, 1.0, norm)[:, None]", "acc"),
    Fault("an empty row divides by zero", _ROWS, "tl.where(empty, 1.0, norm)", "norm"),
    Fault("the lse in base 2", _ROWS, "(best + tl.log2(norm)) * LN2", "(best + tl.log2(norm))"),
    Fault("the mask shifted by one", _COMMON, '" <= " ~ t if plan.causal', '" < " ~ t if plan.causal'),
    Fault("the mask shifted into the future", _COMMON, '" <= " ~ t if plan.causal', '" <= 1 + " ~ t if plan.causal'),
    Fault("the last block is skipped", _ATTEND, "for step in range(0, steps):", "for step in range(0, tl.maximum(steps - 1, 1)):"),
    Fault("the first block is skipped", _BACK, "for step in range(0, steps):", "for step in range(1, steps):"),
    Fault("every query tile reads the first list", _COMMON, " * tiles + tile - first_tile", " * tiles"),
    Fault("the list of another sequence", _COMMON, '"batch" }} * tiles + tile', '"0" }} * tiles + tile'),
    Fault("the bits of the neighbouring query", _WALK, "(word[None, :] & (1 << r)[:, None])", "(word[None, :] & (1 << (r ^ 1))[:, None])"),
    Fault("every query of a tile sees the union", _WALK, "(word[None, :] & (1 << r)[:, None]) != 0", "(word[None, :] | (1 << r)[:, None]) != 0"),
    Fault("delta is forgotten", _LOGIT, "ds = (p * (dp - delta{{ by_row(across) }})).to(q.dtype)", "ds = (p * dp).to(q.dtype)"),
    Fault("delta has the wrong sign", _LOGIT, "p * (dp - delta{{ by_row(across) }})).to", "p * (dp + delta{{ by_row(across) }})).to"),
    Fault("the scale is dropped from dq", _BACK, '"(dq * SCALE)" if linear', '"(dq)" if linear'),
    Fault("the scale is dropped from dk of lists", _BACK, 'dk = tl.dot(tl.trans(ds), q, input_precision=PRECISION){{ " * SCALE" if linear }}', "dk = tl.dot(tl.trans(ds), q, input_precision=PRECISION)"),
    Fault("the scale is dropped from dk of ranges", _KEYS, '{{ put }}(dk_ptr + grad_off, dk{{ " * SCALE" if linear }}', "{{ put }}(dk_ptr + grad_off, dk"),
    Fault("dk and dv are swapped in lists", _BACK, "tl.atomic_add(dv_ptr + grad_off, dv, mask=add, sem=\"relaxed\")\n            tl.atomic_add(dk_ptr + grad_off, dk,", "tl.atomic_add(dk_ptr + grad_off, dv, mask=add, sem=\"relaxed\")\n            tl.atomic_add(dv_ptr + grad_off, dk,"),
    Fault("dk and dv are swapped in ranges", _KEYS, "{{ put }}(dv_ptr + grad_off, dv, mask=store", "{{ put }}(dv_ptr + grad_off, dk, mask=store"),
    Fault("dv of a list overwrites", _BACK, "tl.atomic_add(dv_ptr + grad_off, dv, mask=add, sem=\"relaxed\")", "tl.store(dv_ptr + grad_off, dv, mask=add)"),
    Fault("one query head of a group alone", _BACK, "(row % GROUP_PAD < GROUP)", "(row % GROUP_PAD < 1)", 1),
    Fault("the kv head of another group", _ATTEND, "head = kv * GROUP + row % GROUP_PAD", "head = kv + row % GROUP_PAD * KV_HEADS"),
    Fault("the gate's derivative is forgotten", _BACK, "dz{{ i }} = draw * raw * partial{{ i }}", "dz{{ i }} = draw * raw"),
    Fault("the gate's derivative is of the gated output", _BACK, "dz{{ i }} = draw * raw * partial{{ i }}", "dz{{ i }} = draw * raw * factor * partial{{ i }}"),
    Fault("the output gate is not passed through", _BACK, "    draw = draw * factor\n", ""),
    Fault("the output gate is not applied", _ROWS, "    out = out * output_gate({{ gate_args(plan.output_gate) }})\n", ""),
    Fault("a gate's gradient per head is that of its last feature", _GATE, "dz{{ i }} = tl.sum(dout", "dz{{ i }} = tl.max(dout"),
    Fault("the input gate is not passed through", _GATE, "(dout * factor)", "(dout)"),
    Fault("the input gate reads another head", _GATE, "head = (tl.program_id(1) % {{ heads }}).to(tl.int64)", "head = (tl.program_id(1) * 0).to(tl.int64)"),
    Fault("ties go to the larger position", _LISTS, "({{ key }} <= last)", "({{ key }} >= last)"),
    Fault("ties of earlier blocks are forgotten", _RANKS, "        seen += tl.sum(tied)\n", ""),
    Fault("all of the tied are taken", _LISTS, "((rank == limit) & ({{ key }} <= last))", "(rank == limit)"),
    Fault("minus zero is less than zero", "templates/lib/order.py", "    score = tl.where(score == 0.0, 0.0, score)  # -0.0 and 0.0 are equal scores\n", ""),
    Fault("the order of negative scores is reversed", "templates/lib/order.py", "tl.where(bits < 0, ~bits, bits | -2147483648)", "tl.where(bits < 0, bits & 2147483647, bits | -2147483648)"),
    Fault("a NaN score may be chosen", "templates/lib/order.py", "return tl.where(finite, flipped, 0)", "return flipped"),
    Fault("forced keys compete", _COMMON, '({{ s }} <= {{ t }}{{ " - LAST" if plan.last }})', "({{ s }} <= {{ t }})"),
    Fault("forced keys count against the budget", _BUDGET, "    k = tl.minimum(k, total)\n", "    k = tl.maximum(tl.minimum(k, total) - 1, 0)\n"),
    Fault("the budget is rounded to the nearest", _BUDGET, "tl.minimum(tl.floor(wanted), BUDGET_MOST * 1.0)", "tl.minimum(tl.floor(wanted + 0.5), BUDGET_MOST * 1.0)"),
    Fault("the sample variance", _THRESHOLD, "row_var = squares / tl.maximum(row_count, 1.0)", "row_var = squares / tl.maximum(row_count - 1.0, 1.0)"),
    Fault("moments of a short row are taken about 0", _THRESHOLD, "row_var = tl.maximum(tl.sum(squares) / row_count - off_mean * off_mean, 0.0)", "row_var = tl.maximum(tl.sum(squares) / row_count, 0.0)"),
    Fault("statistics see the future", _THRESHOLD, '"<= " ~ own) if plan.causal', '"< length") if plan.causal'),
    Fault("blocks of a row combine without their distance", _THRESHOLD, " + delta * delta * row_count * count / both", ""),
    Fault("0 / 0 keeps nothing", _BUDGET, "tl.where(wanted == wanted, wanted, BUDGET_MOST * 1.0)", "tl.where(wanted == wanted, wanted, 0.0)"),
    Fault("a guess that misses is not told", _SETTLE, "tl.store(missed_ptr + batch * length + t, 1)", "tl.store(missed_ptr + batch * length + t, 0)"),
    Fault("what is above a guess is not counted", _SETTLE, "    need = k - tl.load(found_ptr + out * 2 + 1)\n", "    need = k + 0 * tl.load(found_ptr + out * 2 + 1)\n"),
    Fault("too many of those above the middle stay", _SETTLE, "(i < inside) & (chosen != marked)", "(i < inside) & chosen & (marked == 0)"),
    Fault("ties in a guess go to the larger position", _SETTLE, "(rank == limit) & (place <= last)", "(rank == limit) & (place > t - last)"),
    Fault("an amended choice keeps its old marks", _SETTLE, "mask=(s <= query) & (chosen == 0)", "mask=(s <= query) & (s < 0)"),
    Fault("the moments forget a strip", _SETTLE, "strip = n0 + tl.arange(0, 64)", "strip = n0 + 1 + tl.arange(0, 64)"),
    Fault("moments are taken about 0", _SETTLE, "row_var = tl.maximum(squares / row_count - off * off, 0.0)", "row_var = tl.maximum(squares / row_count, 0.0)"),
    Fault("a mark of another query's", _SETTLE, "(32 // WORDS) + row % TILE)\n            tl.atomic_xor", "(32 // WORDS) + (row + 1) % TILE)\n            tl.atomic_xor"),
    Fault("what is kept has no place", _MARK, "tl.broadcast_to(s[None, :], (KEEP_ROWS, SCORE_KEYS))", "tl.broadcast_to(n[None, :], (KEEP_ROWS, SCORE_KEYS))"),
    Fault("statistics of the whole batch", _THRESHOLD, "rank_ptr + out * width, candidate_ptr", "rank_ptr + row * width, candidate_ptr"),
    Fault("the bracket loses what is above it", _THRESHOLD, "(rank > high).to(tl.int32)", "(rank >= high).to(tl.int32)"),
    Fault("score tiles reach into the next row", _STRIP, 'last = tl.minimum(first + {{ last_row ~ " + 1" if runs else "SCORE_ROWS" }}, length)', "last = first + SCORE_ROWS"),
    Fault("whole blocks are taken for seen too early", _STRIP, "tl.minimum(first + 1, length)", "tl.minimum(first + SCORE_ROWS, length)"),
    Fault("the indexer's loss trains the attention", _LOSS.replace("kernels", "host"), "grad * (dloss / ctx.rows)", "grad * dloss"),
    Fault("the loss of one head alone", _LOSS, "target += tl.sum", "target = tl.sum"),
    Fault("the temperature is dropped from the gradient", _LOSS, ", 0.0) * (1.0 / TEMPERATURE)\n        {{ add", ", 0.0)\n        {{ add"),
    Fault("the target is not averaged over heads", _LOSS, ' * (1.0 / {{ "GROUP" if grain.per_kv_head else "HEADS" }}), (TILE, REPEAT, BACKWARD_KEYS)', ", (TILE, REPEAT, BACKWARD_KEYS)"),
    Fault("dscore has the wrong sign", _LOSS, "dscore = tl.where(sees & finite,", "dscore = -tl.where(sees & finite,"),
    Fault("every head gets the maximum's gradient", _HEAD, " & (taken{{ i }} == 0)", ""),
    Fault("0 * NaN in the indexer's gradient", _HEAD, '    ik = tl.where(tl.abs(ik.to(tl.float32)) < float("inf"), ik, 0.0)\n', ""),
    Fault("0 * NaN in the slope of a score", _INDEX, "tl.where(dscore != 0.0, up{{ loop.index0 }} * dscore, 0.0)", "up{{ loop.index0 }} * dscore"),
    Fault("the indexer's weight gets the bias's gradient", _HEAD, "tl.sum(dw, 1)", "tl.sum(ddot, 1)"),
    Fault("index heads after the first are forgotten", _INDEX, "diq{{ j }} += diq_j", "diq{{ j }} = diq_j"),
    Fault("a stack of heads forgets the ones before", _STACKED, "acc{{ i }} += tl.load(sum_ptr + {{ plane(i) }}at, mask=stack > 0, other=0.0)", "acc{{ i }} += 0.0"),
    Fault("the last head that has the maximum takes its gradient", _STACKED, "tl.where(acc{{ i }} > before,", "tl.where(acc{{ i }} >= before,"),
    Fault("every head of a stack gets the maximum's gradient", _STACKED, "tl.where(winner == j.to(tl.float32)[:, None], up{{ i }}, 0.0)", "tl.where(winner >= 0.0, up{{ i }}, 0.0)"),
    Fault("heads that are not there take part in a maximum", _TERMS, "'float(\"-inf\")' if reduction.op == \"max\" else \"0.0\"", '"0.0"'),
    Fault("the sums of a chunk are its first tiles'", "templates/host/stack.py.jinja", "walk = (length, first, width,", "walk = (length, 0, width,"),
    Fault("the second product's scores are its first queries'", "templates/kernels/score_stacked.py.jinja", 'local = tl.program_id(0) * SCORE_ROWS + {{ query ~ " + " if query }}column', "local = tl.program_id(0) * SCORE_ROWS + column"),
    Fault("keys of a block at the end of a list are forgotten", _INDEX, 'index_mask("real[:, None]", "di[None, :]")', 'index_mask("(real & (s % 16 != 15))[:, None]", "di[None, :]")'),
    Fault("the sink is not in the lse", _ROWS, "norm = tl.full(({{ rows }},), 1.0, tl.float32)", "norm = tl.full(({{ rows }},), 0.0, tl.float32)"),
    Fault("the sink's gradient has the wrong sign", _HOST, "dsink = -torch.where", "dsink = torch.where"),
    Fault("the first keys lose their far queries", _HOST, "        dk[:, :, :count] += ", "        dk[:, :, :count] += 0 * "),
    Fault("lists are too narrow", _CHOOSE, "triton.cdiv(most, LIST_PAD.value) * LIST_PAD.value", "max(most // LIST_PAD.value, 1) * LIST_PAD.value"),
    Fault("a gradient goes to the wrong operand", _HOST, "return dq, dk.to(key.dtype), dv.to(value.dtype)", "return dq, dv.to(key.dtype), dk.to(value.dtype)"),
    Fault("the scale is dropped", _EAGER, "wide(key)) * SCALE", "wide(key))"),
    Fault("the mask lets the future in", _EAGER, "visible = s <= t[:, None]", "visible = s <= t[:, None] + 1"),
    Fault("ties go anywhere", _EAGER, "(tied & (tied.cumsum(-1) <= (k - above.sum(-1))[..., None]))", "(tied & (tied.flip(-1).cumsum(-1).flip(-1) <= (k - above.sum(-1))[..., None]))"),
    Fault("the indexer's loss reaches the query", _EAGER, "losses.append(run(divergence, q.detach(), k.detach(), v.detach(), sees, {{", "losses.append(run(divergence, q, k, v, sees, {{"),
    Fault("the output gate is not applied by torch", _EAGER, "    output = output * output_gate({{ gate_args(plan.output_gate) }})\n", ""),
    Fault("the lse forgets the maximum", _EAGER, "lse = (torch.where(best.isfinite(), best, 0.0) + norm.log())", "lse = norm.log()"),
    Fault("a query sees all of a block it chose", _WALK, '        sees = sees & ({{ visible("s[None, :]", "t[:, None]") }})\n{%- endif %}', "{%- endif %}"),
    Fault("a block of the list begins where the last one did", _WALK, "s = tl.load(pos_ptr + o // UNIT) * UNIT + o % UNIT", "s = tl.load(pos_ptr + o // UNIT) * UNIT"),
    Fault("the walk through a wide block stays at its beginning", _WALK, " * UNIT + step * BLOCK % UNIT", " * UNIT"),
    Fault("lists are as long as they have blocks", _COMMON, '{{ " * UNIT" if coarse }}', ""),
    Fault("every kv head reads the first one's list", _COMMON, '"tl.program_id(1).to(tl.int64)" if grain.per_kv_head', '"batch" if grain.per_kv_head'),
    Fault("a block's score is made of keys that nobody sees", _BLOCKS, '({{ visible("s[None, :]", "t[:, None]") }}) & (tl.abs', "(s[None, :] < length) & (tl.abs"),
    Fault("only the last part of a wide block counts", _BLOCKS, "total = tl.maximum(total, tl.max(score, 2))", "total = tl.max(score, 2)"),
    Fault("a mean over keys that are not there", _BLOCKS, "total / tl.maximum(known, 1).to(tl.float32)", "total / UNIT"),
    Fault("statistics count a query's own block by its pooled key", _THRESHOLD, '("< " ~ own if blind', '("<= " ~ own if blind'),
    Fault("the indexer's loss reads pooled keys of the future", _LOGIT, '        score = tl.where(s[None, :] // UNIT < ti[:, None] // UNIT, score, float("nan"))\n', ""),
    Fault("the pooled key of another block", _LOGIT, '"(s // UNIT)" if grain.pool', '"(s // UNIT // 2)" if grain.pool'),
    Fault("gradients of pooled keys go to the first block", _INDEX, "(s // UNIT)[:, None]", "(s * 0)[:, None]"),
    Fault("a short last block is averaged over all of its places", _POOL, ".clamp_max({{ unit }})", ".clamp_min({{ unit }})"),
    Fault("every query of a run chooses as if it were the first", _LISTS, "    local = local // QUERIES\n", ""),
    Fault("a run chooses among what its last query sees", _LISTS, "(t // QUERIES * QUERIES) // UNIT", "t // UNIT"),
    Fault("forced keys of a run are its first query's", _LISTS, 'forced_here = forced("s[None, :]", own ~ "[:, None]",', 'forced_here = forced("s[None, :]", ("(chooser + 0 * t)" if runs and plan.causal else own) ~ "[:, None]",'),
    Fault("a kv head's loss is averaged over all heads", _LOSS, '"GROUP" if grain.per_kv_head else "HEADS" }}), (TILE, REPEAT', '"HEADS" }}), (TILE, REPEAT'),
    Fault("a kv head's loss is taken to the first head's attention", _COMMON, "own_head = tl.program_id(1) % KV_HEADS", "own_head = tl.program_id(1) * 0"),
    Fault("pooled keys are seen whole by torch", _EAGER, "    score = score.masked_fill(torch.arange(score.shape[-1], device=t.device) >= (t // UNIT)[:, None], float(\"nan\"))\n", ""),
    Fault("sigmoid's derivative without its complement", _DERIVE, 'return (apply("mul", e, apply("sub", ONE, e)),)', "return (e,)"),
    Fault("the derivative of tanh", _DERIVE, 'apply("sub", ONE, apply("mul", e, e))', 'apply("sub", ONE, e)'),
    Fault("the chain rule is forgotten", _DERIVE, 'canonicalize(_chained(partial, d))', "canonicalize(partial)"),
    Fault("a saturated term passes 0 * inf on", _DERIVE, 'return apply("where", apply("eq", partial, ZERO), ZERO, product)', "return product"),
    Fault("the product rule loses its second half", _DERIVE, '"mul": lambda e: (e.args[1], e.args[0])', '"mul": lambda e: (e.args[1], ZERO)'),
    Fault("quotients are differentiated as products", _DERIVE, 'return apply("div", ONE, y), apply("neg", apply("div", e, y))', 'return apply("div", ONE, y), apply("div", e, y)'),
    Fault("a clamp passes everything on", _DERIVE, '    return apply("where", apply("lt", x, low), d[1], above)', "    return d[0]"),
    Fault("a neutral element of the wrong operation", _CANON, '("mul", (Const(1.0), x)) | ("mul", (x, Const(1.0)))', '("mul", (Const(1.0), x)) | ("mul", (x, Const(0.5)))'),
    Fault("a square is folded to its base", _CANON, "for _ in range(int(c) - 1):", "for _ in range(int(c) - 2):"),
    Fault("division by a constant multiplies", _CANON, 'apply("mul", x, Const(1.0 / c))', 'apply("mul", x, Const(c))'),
    Fault("a mean over heads is a sum", _LOWER, 'if node.op == "mean" else acc', 'if node.op == "min" else acc'),
    Fault("several gates of a target are one", _LOWER, 'factor = canonicalize(apply("mul", factor, scalar(gate.body, rename=leaves)))', "factor = canonicalize(scalar(gate.body, rename=leaves))"),
    Fault("the scale is the head dimension", _LOWER, "1.0 / math.sqrt(shape.head_dim)", "1.0 / shape.head_dim"),
    Fault("base 2 is forgotten", _LOWER, "scaled(value, 1.0 / math.log(2.0))", "value"),
    Fault("the gather drops a query's last key", _GATHER, "count = tl.load(own_count_ptr + own)", "count = tl.load(own_count_ptr + own) - 1"),
    Fault("a query's list is made of its neighbour's bits", _GATHER, "(word >> tl.program_id(2)) & 1", "(word >> (tl.program_id(2) ^ 1)) & 1"),
    Fault("the gather attends to the rest of a step", _GATHER, "sees = (n < count)[None, :]", "sees = (n >= 0)[None, :]"),
    Fault("the gather takes tiles that are alike", _GATHER, "tl.load(total_ptr + slot)) == 0:", "tl.load(total_ptr + slot)) != 0:", 1),
    Fault("the gather reads the lists of the first tile", _GATHER, "own = choice * tl.num_programs(0) + tl.program_id(0)\n", "own = choice * tl.num_programs(0) + tl.program_id(0) % TILE\n"),
    Fault("a query sees all of a wide block it chose", _WALK, '"tl.where(chose, t, -1)[:, None]"', '"tl.where(chose, length, -1)[:, None]"'),
    Fault("a block's shares after the first are left out", _HOST, "torch.where(real, torch.minimum(start + share, stop), start)", "torch.where(real & (turn == 0), torch.minimum(start + share, stop), start)"),
    Fault("every part of a tile has the bits of its first", _KEYS, "(word >> (tile % SPLITS * KEY_TILE + r))", "(word >> r)"),
    Fault("the first tiles of a block are taken for whole", _KEYS, "        while first_query(chooser_ptr, early, end) < block * BACKWARD_KEYS + BACKWARD_KEYS - 1:\n            early += 1\n", ""),
    Fault("delta of another tile's rows", _KEYS, "delta = tl.load(row_delta_ptr + tile * KEY_ROWS)", "delta = tl.load(row_delta_ptr + tile // 2 * KEY_ROWS)", 1),
    Fault("the mean of pooled keys is their sum", _MEAN, "pooled = total / (end - begin).to(tl.float32)", "pooled = total"),
    Fault("a short last block is pooled over all of its places", _MEAN, "(end - begin).to(tl.float32)", "UNIT"),
    Fault("the last of the tied that are taken is left out", _LISTS, "({{ key }} <= last)", "({{ key }} < last)"),
    Fault("all of the tied of a short row are taken", _THRESHOLD, "    if tied > ties:\n        last = last_of(rank_ptr, begin, end, limit, ties)\n    tl.store(budget_ptr", "    tl.store(budget_ptr"),
)  # fmt: skip


def named(files: dict[str, str]) -> list[Mutant]:
    """The faults as mutants. Raises ValueError for one whose place is no longer in its file."""
    return [_mutant(fault, files[fault.file]) for fault in FAULTS]


def _mutant(fault: Fault, text: str) -> Mutant:
    start = -1
    for _ in range(fault.place + 1):
        start = text.find(fault.old, start + 1)
        if start < 0:
            raise ValueError(f"{fault.file} no longer holds what '{fault.what}' changes: {fault.old!r}")
    return Mutant(fault.file, "named", f"{fault.file}: {fault.what}", start, start + len(fault.old), fault.new)
