"""Mutants that verification does not catch, and why.

``EQUIVALENT`` ones compute the same, or differ in what nobody sees. ``MISSED`` ones are faults that the default cases do
not bring out; they count against the kill rate.
"""
# ruff: noqa: E501 - a name is a line, as wide as what it changes

from __future__ import annotations

_UNSEEN = "every reader of that place has the mask again: what is beyond it never counts"
_WALK = "the walk has more blocks, and every block masks what a query does not see"
_QUERIES = "the walk has more queries, and each of them masks what it does not see"
_MASKED = "more keys than need be are masked, or scored a second time alike"
_BRACKET = "any bracket will do: one that misses is told by its counts, and the whole row is looked through"
_LOWER = "it spares steps of the bisection: the need-th largest of some ranks is no more than that of all"
_GUESS = "any guess will do: one that misses is told by its counts, and all ranks of the row are looked through"
_STEPS = "where to look next decides in how many steps a rank is found, and not which"
_PIVOT = "moments may be taken about any number within the scores"
_TARGET = "the attention that the loss is taken to is computed without gradients anyway"
_FINITE = "where no gradient passes, any number will do that is finite"
_TAIL = "the entry after a list's last belongs to no query: its word is 0"
_PROVED = "the checker has proved that the place lies in the table"
_TIE = "at a tie both are the same number; which takes the gradient is said in passes/derivative.py"
_GROUPS = "how many chunks are attended to in one launch changes no result"
_SIZES = "how many queries or keys are worked on together changes no result"
_NOTHING = "adding 0 changes nothing"
_CAPACITY = "a row of just so many ranks is looked through in more registers"
_FEATURE = "what is read beyond the features meets features of 0"

_LINE = "run(divergence, q.detach(), k.detach(), v.detach(), sees, "
_ARGUMENTS = '{{ "t, " if plan.logit or grain.pool }}{% for name in extras %}{{ name }}.detach(), {% endfor %}*tensors)'
_FINAL = 'final = tl.minimum({{ "first + (SCORE_ROWS - 1) * QUERIES" if runs else "tl.minimum(first + SCORE_ROWS, first_row + rows) - 1" }}, length - 1)'
_INNER = 'inner = tl.minimum(end, {{ "first // UNIT" if blind else "tl.minimum(first + 1, length)" if plan.causal else limit }}) // SCORE_KEYS * SCORE_KEYS'
_ENOUGH = "tl.minimum(tl.maximum(wanted * (1.0 - spread), 0.0), BUDGET_MOST * 1.0)"
_KEPT = 'taken = tl.atomic_add(found_ptr + out * 2, count, mask=row_ok & (count > 0), sem="relaxed")'

_STACKED = "; tests/runtime/test_stacked.py has that, and catches it"

EQUIVALENT: dict[str, str] = {
    'gsa_dsl/ir/lower.py: mul to add: if reads == ("dot",) and linear and canonicalize(apply("mul", Const(scale), Input("dot"))) == _front(value):': "a "
    "plain product that is written as a logit is computed as any logit, by the same multiplication",
    'gsa_dsl/passes/canonicalize.py: >= to >: "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),': "at 0 "
    "both forms are one half",
    "templates/eager.py.jinja: the indexer's loss reaches the query": _TARGET,
    f"templates/eager.py.jinja: leak a gradient (2): {_LINE}{_ARGUMENTS}": _TARGET,
    f"templates/eager.py.jinja: leak a gradient (3): {_LINE}{_ARGUMENTS}": _TARGET,
    "templates/eager.py.jinja: 0.0 to 1.0: row_entropy = total.log() - (weight * torch.where(real, off, 0.0)).sum(-1) / total": "what "
    "is not real has a weight of 0, which any finite number may be multiplied by",
    "templates/eager.py.jinja: drop - 1: place = (bias_place(distance.double()) + {{ place_slack }}).floor().clamp(0, TABLE_SIZE - 1).to(torch.int64)": _PROVED,
    "templates/host/attend.py.jinja: drop - 1: place = (bias_place(distance) + {{ place_slack }}).floor().clamp(0, TABLE_SIZE.value - 1).to(torch.int32)": _PROVED,
    "templates/host/attend.py.jinja: < to <=: listed = torch.arange(width, device=device) < lists.count[:, :, None]": _TAIL,
    "templates/host/attention.py.jinja: leak a gradient: iq, ik = query.detach().unflatten(1, (KV_HEADS.value, GROUP.value)).flatten(0, 1), key.detach().flatten(0, 1)": "what is "
    "chosen is chosen without gradients anyway",
    "templates/host/attention.py.jinja: - to +: if start - groups[-1][0][0] >= STREAM_ROWS:": _GROUPS,
    "templates/host/attention.py.jinja: >= to >: if start - groups[-1][0][0] >= STREAM_ROWS:": _GROUPS,
    "templates/host/common.py.jinja: >= to >: told = not on_gpu or (torch.version.cuda is not None and torch.cuda.get_device_capability(key.device)[0] >= 9)": "keys "
    "and values are the same, however they are loaded",
    'templates/host/pool.py.jinja: -inf to 0: return torch.where(unknown.any(-2), float("nan"), torch.where(unknown, float("-inf"), k).amax(-2))': "the "
    "maximum of a block with a NaN is NaN, whatever stands for it",
    "templates/host/select.py.jinja: < to <=: listed = torch.arange(width, device=lists.pos.device) < lists.count[:, :, None]": _TAIL,
    "templates/host/select.py.jinja: drop the last block: triton.cdiv(size, KEEP_ROWS.value) * strips,": "queries that "
    "are surveyed together fill score tiles, and these fill the tiles of what keeps their keys",
    "templates/host/select.py.jinja: > to >=: return CANDIDATES.value if width > CANDIDATES.value else 0": "more memory than "
    "need be; a row of just that width has no bracket",
    "templates/host/select.py.jinja: + to -: self.redone = max(min(REDO_ROWS, WORKSPACE // (4 * batch * (self.mark_width + CANDIDATES.value))), 1)": _SIZES,
    "templates/host/select.py.jinja: + to - (2): row = 4 * length // SURVEY_STEP.value + 4 * length // (TILE.value * WORDS.value) + 8 * MARKED.value": _SIZES,
    "templates/host/select.py.jinja: > to >=: if length > SURVEY_FROM:": "at that very length nothing is surveyed; "
    + _SIZES,
    "templates/macros/attend.jinja: > to >=: {%- set plain = plan.logit is none and plan.scale > 0 -%}": "a scale of 0 "
    "makes every product 0, before the largest is taken or after",
    "templates/module.py.jinja: drop a factor: MARK_STRIP = tl.constexpr({{ 2 * config.strip }})": _SIZES,
    'templates/kernels/walk.py.jinja: - to +: sinks = tl.cdiv(tl.minimum({{ "begin + " if plan.documents }}FIRST, end), BLOCK){{ " - lead" if plan.documents }}': _WALK,
    'templates/kernels/walk.py.jinja: one key more: far = {{ "end" if plan.causal else "tl.minimum(last + LAST, end)" }}': _WALK,
    "templates/kernels/walk.py.jinja: drop - 1: sinks = tl.minimum((FIRST + BLOCK - 1) // BLOCK, end)": _WALK,
    "templates/kernels/walk.py.jinja: > to >=: near = tl.where(newest > begin, first + 1, near)": _WALK,
    "templates/kernels/walk.py.jinja: < to <=: real = s < length [3]": "what loads a range's keys asks itself which exist",
    'templates/kernels/walk.py.jinja: < to <=: real = {{ "(o < count * UNIT) & " if not pieces }}(s < length)': _TAIL,
    "templates/kernels/attend.py.jinja: max to min: score = tl.max(tl.reshape(score, (TILE, REPEAT, KEYS)), 1)": "the rows "
    "of a query are copies of one another",
    'templates/kernels/attend.py.jinja: 0.0 to 1.0: base = tl.where(better == float("-inf"), 0.0, better)': "minus infinity "
    "less any number is minus infinity",
    "templates/kernels/attend.py.jinja: > to >=: return (total >= 0) & (count * 100 > total * GATHER)": "at just that "
    "share a tile may be attended to either way, and every kernel asks the same function",
    "templates/kernels/attend.py.jinja: >= to >: return (total >= 0) & (count * 100 > total * GATHER)": "where nothing "
    "was chosen the list is empty, which is no more than any share of 0",
    "templates/kernels/attend_bwd_key.py.jinja: drop - 1: end = tl.cdiv(tl.minimum(block * BACKWARD_KEYS + BACKWARD_KEYS - 1 + LAST, length), KEY_TILE)": _QUERIES,
    "templates/kernels/attend_bwd_key.py.jinja: one key more: end = tl.cdiv(tl.minimum(block * BACKWARD_KEYS + BACKWARD_KEYS - 1 + LAST, length), KEY_TILE)": _QUERIES,
    "templates/kernels/attend_bwd_key.py.jinja: - to +: share = tl.cdiv(tl.cdiv(length, KEY_TILE) - end, tl.num_programs(2))": "however "
    "large the shares are, each query falls in one of them",
    "templates/kernels/attend_bwd.py.jinja: - to +: for i in range(0, steps - whole):": _WALK,
    "templates/kernels/attend_bwd_key.py.jinja: <= to <: late = tl.where(block * BACKWARD_KEYS + BACKWARD_KEYS <= length, length, 0) // KEY_TILE": _MASKED,
    "templates/kernels/attend_bwd_key.py.jinja: < to <=: while first_query(chooser_ptr, early, end) < block * BACKWARD_KEYS + BACKWARD_KEYS - 1:": _MASKED,
    "templates/kernels/attend_bwd_key.py.jinja: minimum to maximum: early = tl.minimum(tl.maximum(early, begin), end)": f"no tile is taken for whole; {_MASKED}",
    "templates/kernels/attend_bwd_key.py.jinja: 0.0 to 1.0: p = tl.where(row_ok[None, :], p, 0.0)": "a row that did not "
    "choose the block has a query and a gradient of 0, which any finite number may be multiplied by",
    'templates/kernels/index_grad.py.jinja: 0.0 to 1.0: q = tl.where(tl.abs(q.to(tl.float32)) < float("inf"), q, 0.0)': _FINITE,
    f"templates/kernels/mark.py.jinja: drop a mask: {_KEPT}": _NOTHING,
    f"templates/kernels/mark.py.jinja: > to >=: {_KEPT}": _NOTHING,
    'templates/kernels/pool.py.jinja: drop a mask: best = tl.maximum(best, tl.max(tl.where(real & (k == k), k, float("-inf")), 0))': "where a "
    "key is NaN the largest is, whatever the others are",
    "templates/kernels/mark.py.jinja: 0.0 to 1.0: score = tl.where(seen, score, 0.0)": "any finite number is as good: it "
    "is multiplied by 0, to tell those that are not finite",
    "templates/macros/strip.jinja: whole blocks are taken for seen too early": _UNSEEN,
    f"templates/macros/strip.jinja: minimum to maximum (2): {_INNER}": _UNSEEN,
    f"templates/macros/strip.jinja: drop + 1: {_INNER}": _MASKED,
    "templates/macros/strip.jinja: maximum to minimum: inner = tl.maximum(inner, begin)": _MASKED,
    "templates/macros/strip.jinja: - to +: last = tl.minimum(first + {{ last_row }}, length - 1) // UNIT": _UNSEEN,
    f"templates/macros/strip.jinja: + to -: {_INNER}": _MASKED,
    "templates/macros/strip.jinja: minimum to maximum (2): final = tl.minimum(tl.minimum(first + SCORE_ROWS, first_row + rows), length) - 1": _UNSEEN,
    'templates/macros/strip.jinja: drop - 1: {%- set last_row = "(SCORE_ROWS - 1) * QUERIES" if runs else "SCORE_ROWS - 1" -%}': _UNSEEN,
    'templates/macros/strip.jinja: - to +: {%- set last_row = "(SCORE_ROWS - 1) * QUERIES" if runs else "SCORE_ROWS - 1" -%}': _UNSEEN,
    "templates/kernels/score_stacked.py.jinja: >= to >: if begin >= end:": "the program that goes on has no keys to walk",
    "templates/kernels/ranks.py.jinja: - to +: near = tl.floor(place - slack).to(tl.int32)": _BRACKET,
    "templates/kernels/ranks.py.jinja: <= to <: if far <= held:": _BRACKET,
    "templates/macros/strip.jinja: >= to >: if begin >= last:": "the program that goes on has no keys to walk",
    'templates/kernels/score.py.jinja: < to <=: rank = tl.where({{ "s[None, :] < (t // UNIT)[:, None]" if blind else visible("s[None, :]", "t[:, None]", limit) }}, rank, 0)': "where "
    "keys are pooled a query's own block is forced, and takes no part in contest or statistics",
    f"templates/kernels/score_blocks.py.jinja: - to + (2): {_FINAL}": _UNSEEN,
    f"templates/kernels/score_blocks.py.jinja: drop - 1: {_FINAL}": _UNSEEN,
    f"templates/kernels/score_blocks.py.jinja: minimum to maximum (2): {_FINAL}": _UNSEEN,
    "templates/kernels/threshold.py.jinja: >= to >: held = ((rank >= low) & (rank <= high)).to(tl.int32)": _BRACKET,
    "templates/kernels/threshold.py.jinja: <= to <: elif held <= SAMPLE // 2:": _CAPACITY,
    "templates/kernels/lists.py.jinja: += to =: total += tl.sum(chosen.to(tl.int32))": "a tile may "
    "be attended to either way, and every kernel reads the same number",
    'templates/kernels/lists.py.jinja: < to <= (2): row_ok = {{ "(local < rows * QUERIES)" if runs else "(local < rows)" }} & (t < length)': "a query "
    "beyond the end is none of the attention's rows",
    'templates/kernels/walk.py.jinja: < to <= (2): real = {{ "(o < count * UNIT) & " if not pieces }}(s < length)': _NOTHING,
    'templates/kernels/walk.py.jinja: minimum to maximum: far = {{ "end" if plan.causal else "tl.minimum(last + LAST, end)" }}': _WALK,
    "templates/kernels/walk.py.jinja: one key more: window = tl.maximum((tl.maximum(tile * TILE - LAST + 1, 0)) // BLOCK, sinks)": _WALK,
    'templates/kernels/attend_bwd.py.jinja: < to <=: v = tl.load(v_ptr + v_off{{ only_dims(value_padded, e ~ "[None, :] < " ~ VALUE_DIM) }})': _FEATURE,
    'templates/kernels/attend_bwd_key.py.jinja: < to <=: do = tl.load(do_ptr + d_off{{ only_dims(value_padded, e ~ "[None, :] < " ~ VALUE_DIM) }})': _FEATURE,
    'templates/kernels/attend.py.jinja: < to <=: v = tl.load(v_ptr + v_off{{ only_dims(value_padded, e ~ "[None, :] < " ~ VALUE_DIM) }})': "what is "
    "read beyond the features is not stored",
    "templates/kernels/attend_bwd.py.jinja: 0.0 to 1.0: delta = tl.where(row_ok, tl.sum(draw * raw, 1), 0.0)": "a row that "
    "is none has weights of 0, which any finite number may be multiplied by",
    "templates/kernels/ranks.py.jinja: >= to >: if rank.shape[0] >= 256:": _LOWER,
    "templates/kernels/ranks.py.jinja: - to +: over = tl.maximum(reached - need - 0.5, 0.0)": _STEPS,
    "templates/kernels/ranks.py.jinja: 0.0 to 1.0: over = tl.maximum(reached - need - 0.5, 0.0)": _STEPS,
    "templates/kernels/settle.py.jinja: > to >=: if tl.sum(tl.load(missed_ptr + asked, mask=asked < count, other=0)) > 0:": "each "
    "of them is asked once more, by itself",
    "templates/kernels/survey.py.jinja: >= to >: if near >= 1:": _GUESS,
    "templates/kernels/survey.py.jinja: swap branches: pivot = tl.where(pivot == pivot, pivot, 0.0)": f"{_GUESS}; {_PIVOT}",
    "templates/kernels/survey.py.jinja: <= to <: if samples <= SAMPLE // 2:": _CAPACITY,
    'templates/kernels/survey.py.jinja: == to !=: edge = tl.where(least == least, least, tl.where(largest == largest, largest, {{ "row_mean" if budget.statistics else "0.0" }}))': _GUESS,
    "templates/kernels/ranks.py.jinja: max to min: best = tl.max(tl.reshape(rank, (rank.shape[0] // 8, 8)), 1)": _LOWER,
    "templates/kernels/threshold.py.jinja: one key more (2): for n0 in range(tl.maximum({{ own }} - LAST + 1, begin), tl.minimum({{ own }} + LAST, end), SCAN_KEYS):": _UNSEEN,
    "templates/kernels/settle.py.jinja: max to min: rank = tl.max(rank_of(score_outer({{ accs() }})).to(tl.uint32, bitcast=True), 0).to(tl.int32, bitcast=True)": "the rows are "
    "copies of one query's",
    "templates/kernels/survey.py.jinja: + to -: t = first_row + local": _GUESS,
    "templates/kernels/survey.py.jinja: > to >=: if samples > SAMPLE:": _GUESS,
    "templates/kernels/survey.py.jinja: >= to >: good = (rank.to(tl.uint32, bitcast=True) >= floor).to(tl.int32)": _GUESS,
    "templates/kernels/survey.py.jinja: += to =: sums += tl.sum(off, 1)": f"{_GUESS}; {_PIVOT}",
    "templates/kernels/survey.py.jinja: 0.0 to 1.0: pivot = tl.where(pivot == pivot, pivot, 0.0)": "the mean of a "
    "sample is the same, whatever number its scores are taken about",
    "templates/kernels/survey.py.jinja: < to <=: rank = tl.load(sample_ptr + n0 + n, mask=n0 + n < padded, other=0) [2]": _GUESS,
    "templates/kernels/survey.py.jinja: drop the last block: padded = tl.cdiv(samples, 4) * 4": f"{_GUESS}; {_PIVOT}",
    "templates/kernels/survey.py.jinja: max to min: top = tl.max(top)": _GUESS,
    "templates/kernels/survey.py.jinja: min to max: bottom = tl.minimum(bottom, tl.min(tl.where(real, rank, 0xFFFFFFFF).to(tl.uint32), 1))": _GUESS,
    f"templates/kernels/survey.py.jinja: - to +: fewest = {_ENOUGH}": _GUESS,
    f"templates/kernels/survey.py.jinja: maximum to minimum: fewest = {_ENOUGH}": _GUESS,
    "templates/kernels/survey.py.jinja: minimum to maximum: last = tl.cdiv(tl.minimum(first_row + (tl.program_id(0) + 1) * SCORE_ROWS, length), SURVEY_STEP)": _GUESS,
    "templates/kernels/survey.py.jinja: drop a factor: s = n * SURVEY_STEP": _GUESS,
    "templates/kernels/survey.py.jinja: <= to <: rank = tl.where(s[None, :] <= t[:, None], rank_of(score_outer({{ accs() }})), 0)": _GUESS,
    'templates/kernels/survey.py.jinja: one key more: total = tl.maximum(t + 1{{ " - FIRST" if plan.first }}{{ " - LAST" if plan.last }}, 0)': _GUESS,
    "templates/lib/scalar.py: < to <=: return tl.where(x < 0.0, 0.0, x)": _TIE,
    "templates/lib/scalar.py: <= to <: return tl.where((x <= y) | (x != x), x, y)": _TIE,
    "templates/lib/scalar.py: >= to >: return tl.where((x >= y) | (x != x), x, y)": _TIE,
}

_SURVEYED = "; tests/runtime/test_survey.py catches it"
_POOLED = "; tests/runtime/test_blocks.py has them pooled, and catches it"
_COMMON = (
    "no key counts as chosen by all, so that all go with masks, which takes longer; "
    "tests/runtime/test_selection.py looks at the lists, and catches it"
)
_REST = "last = tl.maximum(last, tl.max(tl.where(wanted == 1, s, 0)))"
_OTHERS = (
    "it takes a NaN among the values of another document, which the rest of a step would then read; "
    "tests/runtime/test_schedules.py has one, and catches it"
)

MISSED: dict[str, str] = {
    "templates/kernels/score_stacked.py.jinja: the second product's scores are its first queries'": f"it takes a program of scores with several products{_STACKED}",
    'templates/kernels/score_stacked.py.jinja: maximum to minimum: acc{{ loop.index0 }} = {{ "maximum(acc" ~ loop.index0 ~ ", more" ~ loop.index0 ~ ")" if reduction.op == "max" else "acc" ~ loop.index0 ~ " + more" ~ loop.index0 }}': f"it takes more heads than a product holds{_STACKED}",
    'templates/kernels/score_stacked.py.jinja: == to !=: acc{{ loop.index0 }} = {{ "maximum(acc" ~ loop.index0 ~ ", more" ~ loop.index0 ~ ")" if reduction.op == "max" else "acc" ~ loop.index0 ~ " + more" ~ loop.index0 }}': f"it takes more heads than a product holds{_STACKED}",
    'templates/kernels/stack.py.jinja: 0.0 to 1.0: term{{ i }} = tl.where(there, term{{ i }}, {{ \'float("-inf")\' if reduction.op == "max" else "0.0" }})': f"scores that are all more by a number make the same choice and loss: it takes sums within a product{_STACKED}",
    'templates/kernels/index_stack.py.jinja: < to <=: tl.store(dib_ptr + ({{ choice }} * tl.cdiv(length, TILE) + tile) * INDEX_HEADS + j, dib{{ ", mask=j < INDEX_HEADS" if ragged }})': f"it takes heads that are no whole stacks{_STACKED}",
    "templates/host/stack.py.jinja: the sums of a chunk are its first tiles'": f"it takes several chunks of tiles{_STACKED}",
    "templates/host/stack.py.jinja: - to +: count = min(most, tiles - first)": f"it takes several chunks of tiles{_STACKED}",
    'templates/kernels/threshold.py.jinja: < to <=: total += tl.sum((real{{ " & (s >= begin)" if plan.first }}{{ " & (s < end)" if plan.last }}).to(tl.int32))': "it "
    "takes a budget of statistics beside forced keys, in rows shorter than it; tests/runtime/test_calls.py has that, and catches it",
    "templates/eager.py.jinja: - to +: chosen, k_t = (x.repeat_interleave(QUERIES, 1)[:, : end - first] for x in (chosen, k_t))": "it "
    "takes several chunks of queries, which are long; tests/runtime/test_blocks.py makes them short, and catches it",
    'templates/host/common.py.jinja: == to !=: if x.device.type == "cpu":': "it changes how a kernel is launched on a GPU "
    "alone; tests/runtime/test_targets.py catches it",
    "templates/host/common.py.jinja: >= to >: blackwell = torch.version.cuda is not None and torch.cuda.get_device_capability(x.device)[0] >= 10": "it "
    "changes how a kernel is launched on a GPU of that kind alone; tests/runtime/test_targets.py catches it",
    "templates/host/common.py.jinja: > to >=: steps = [step if size > 1 else x.shape[-1] for size, step in zip(x.shape[:-1], x.stride())]": "it "
    "takes a single sequence whose step over the batch is no multiple of 16 bytes; tests/runtime/test_descriptors.py has one, and catches it",
    'templates/kernels/threshold.py.jinja: + to -: t = {{ "(first_row + row) * QUERIES" if runs else "first_row + row" }} [2]': "it takes runs "
    "of queries with few blocks to choose from; tests/runtime/test_blocks.py has them, and catches it",
    "templates/kernels/threshold.py.jinja: += to =: squares += off * off": f"it takes rows of several scans that are not surveyed{_SURVEYED}",
    "templates/kernels/threshold.py.jinja: drop a mask: held = ((rank >= low) & (rank <= high)).to(tl.int32)": "it takes a "
    "bracket with an upper edge, as rows of hundreds of keys have; the long rows of tests/runtime/test_selection.py have one, and catch it",
    "templates/kernels/ranks.py.jinja: min to max: low = narrow(best, need, tl.min(tl.where(best == 0, 0xFFFFFFFF, best).to(tl.uint32)), high, many)": "it "
    "takes rows of 256 ranks and more; the wide blocks of tests/runtime/test_blocks.py have so many, and catch it",
    "templates/host/select.py.jinja: max to min: total = torch.where(own.amax(2) > OWN_MOST, -1, own.sum(2)).to(torch.int32)": "it "
    "takes a given choice of more keys than a budget allows; tests/runtime/test_schedules.py gives one, and catches it",
    "templates/host/select.py.jinja: drop a factor: triton.cdiv(size, KEEP_ROWS.value) * strips,": "samples and ranks take "
    f"more of the same memory where strips are short{_SURVEYED}",
    'templates/macros/common.jinja: - to +: slot = {{ "tl.program_id(1).to(tl.int64)" if grain.per_kv_head else "batch" }} * tiles + tile - first_tile': "it "
    "takes several launches of thousands of queries; tests/runtime/test_selection.py makes them short, and catches it",
    f"templates/kernels/gather.py.jinja: max to min: {_REST}": _OTHERS,
    f"templates/kernels/gather.py.jinja: maximum to minimum: {_REST}": _OTHERS,
    f"templates/kernels/gather.py.jinja: swap branches: {_REST}": _OTHERS,
    "templates/host/select.py.jinja: drop - 1: every = word == (1 << TILE.value) - 1": _COMMON,
    "templates/module.py.jinja: drop - 1: EVERY = tl.constexpr({{ 2 ** config.tile - 1 }})": _COMMON,
    "templates/module.py.jinja: - to +: EVERY = tl.constexpr({{ 2 ** config.tile - 1 }})": _COMMON,
    "templates/macros/list.jinja: += to =: first += count & 0xFFFF": f"it takes keys that all of a tile chose in several steps{_SURVEYED}",
    "templates/kernels/mark.py.jinja: += to =: filled += tl.sum(count)": "it takes strips longer than a step of what "
    f"keeps their keys{_SURVEYED}",
    "templates/kernels/mark.py.jinja: swap branches: score = tl.where(seen, score, 0.0)": "it takes an infinite score at a "
    f"query's own position, where all that it does not see are finite{_SURVEYED}",
    "templates/kernels/pool.py.jinja: += to =: total += tl.sum(k, 0)": "it takes blocks of more than 64 positions"
    f"{_POOLED}",
    "templates/kernels/pool.py.jinja: max to min: unknown |= tl.max((k != k).to(tl.int32), 0)": "it takes a NaN in a "
    f"key of the attention, which the default cases have in the indexer's alone{_POOLED}",
    "templates/kernels/ranks.py.jinja: += to =: seen += tl.sum(tied)": "it takes ties in rows of more than two scans, 64 keys; "
    "the long rows of tests/runtime/test_selection.py have some, and catch it",
    "templates/kernels/threshold.py.jinja: the bracket loses what is above it": "it takes a rank at the very edge of the "
    "sampled bracket, which has an upper edge only in rows of hundreds of keys; the long rows of "
    "tests/runtime/test_selection.py have one, and catch it",
    "templates/kernels/settle.py.jinja: drop + 1: for n0 in range(0, tl.cdiv(t + 1, MARK_STRIP * SCORE_KEYS), 64):": "it "
    f"takes rows of more than 64 strips{_SURVEYED}",
    "templates/kernels/settle.py.jinja: < to <=: word = tl.load(mark_ptr + s, mask=s < end, other=0).to(tl.int32) & ABOVE": "it "
    f"takes surveyed rows of several score tiles{_SURVEYED}",
}
