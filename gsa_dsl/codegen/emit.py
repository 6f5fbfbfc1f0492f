"""From a plan to the text of a Python module: fill the templates, append what they call, check that it parses."""

from __future__ import annotations

import ast

from gsa_dsl import __version__
from gsa_dsl.codegen import library
from gsa_dsl.codegen.environment import environment
from gsa_dsl.codegen.hooks import Hook, folded, hooks, unrolled
from gsa_dsl.codegen.literal import literal
from gsa_dsl.codegen.printer import TORCH
from gsa_dsl.codegen.stacks import stacked, stacked_scores, stacks
from gsa_dsl.ir.nodes import inputs
from gsa_dsl.ir.plan import Grain, Plan, ScorePlan
from gsa_dsl.options import CHUNK_ROWS, REDO_ROWS, STREAM_ROWS, SURVEY_ROWS, SURVEY_SHARE, Launch
from gsa_dsl.passes.schedule import describes, float32_fits, gathers, in_pieces, kv_outer, next_power_of_two, schedules
from gsa_dsl.sema.typed import PLACE_SLACK

_LIBRARY = "# The helpers that are called below."

SCORING = {"score_kernel", "survey_kernel", "mark_kernel", "keep_kernel", "redo_kernel"}
"""Kernels in which equal keys score alike: which products are rounded would be the compiler's whim, key by key."""

GATE_LAUNCH = Launch(4, 1)
PREPARE_LAUNCH = Launch(8, 1)
BUDGET_LAUNCH = Launch(1, 1)
"""Gates before the attention, the backward's preparation and budgets only move bytes: nothing to tune."""
HOPPER_LAUNCH = {"num_warps": 4, "maxnreg": 168}
"""Of one of three groups of four warps; so many registers a thread on average, of a whole multiprocessor's."""
HOPPER_KEYS = 128
"""Keys a step of these."""


def emit_triton(plan: Plan) -> str:
    """The generated Triton module of ``plan``."""
    made = hooks(plan)
    context = _context(plan, made) | {"library": _LIBRARY}
    text = environment().get_template("module.py.jinja").render(context)
    # What is called is known once all else is printed.
    return _tidy(text.replace(_LIBRARY, "\n\n\n".join(library.needed(text))))


def emit_torch(plan: Plan) -> str:
    """The eager torch module of ``plan``: the same entry point, any device, no Triton."""
    context = _context(plan, hooks(plan, TORCH)) | {"eager": True}
    text = environment().get_template("eager.py.jinja").render(context)
    ast.parse(text)
    return _tidy(text)


def _context(plan: Plan, made: tuple[Hook, ...]) -> dict[str, object]:
    score, budget = plan.score, plan.budget
    uses = {name: score is not None and name in score.tensors for name in ("w", "b")}
    gates = plan.output_gate.inputs if plan.output_gate is not None else ()
    partial_names = [
        name
        for name in ("dot", "w", "b")
        if score is not None and any(name == read for r in score.reductions for read, _ in r.partials)
    ]
    dim_pad, value_pad = (max(16, next_power_of_two(dim)) for dim in (plan.shape.head_dim, plan.shape.value_dim))
    word = "torch.uint8" if plan.config.tile <= 8 else "torch.int16" if plan.config.tile <= 16 else "torch.int32"
    return {
        "plan": plan,
        "hooks": made,
        "eager": False,
        "config": plan.config,
        "version": __version__,
        "chunk_rows": CHUNK_ROWS,
        "stream_rows": STREAM_ROWS,
        "launch": literal(launches(plan), start=len("LAUNCH = ")),
        "meta": literal(meta(plan), start=len("META = ")),
        "group_pad": next_power_of_two(plan.shape.group),
        "dim_pad": dim_pad,
        "value_pad": value_pad,
        "index_pad": max(16, next_power_of_two(score.dim)) if score is not None else 0,
        "dim_padded": plan.shape.head_dim != dim_pad,
        "value_padded": plan.shape.value_dim != value_pad,
        "index_padded": score is not None and score.dim != max(16, next_power_of_two(score.dim)),
        "windowed": not plan.listed and bool(plan.first or plan.last),
        # What a query sees is more or less than the keys s <= t.
        "spanned": plan.documents or not plan.causal,
        "seen_keys": "every key s <= t" if plan.causal and not plan.documents else "every key a query sees",
        "masses": [] if budget is None else [level for level in budget.levels if level.op == "top_p"],
        # Sinks without an indexer: keys that every later query sees.
        "far": not plan.listed and bool(plan.first) and plan.causal and not plan.documents,
        "grain": plan.grain,
        **_columns(plan),
        "surveyed": surveys(plan),
        "survey_from": max(4 * plan.config.sample, plan.config.score_rows, plan.config.tile),
        "survey_rows": SURVEY_ROWS,
        "redo_rows": REDO_ROWS,
        "survey_step": max(plan.config.sample // SURVEY_SHARE, 2),
        "marked": max(2 * plan.config.sample, 32),
        "quick": {hook.name: hook for hook in made if hook.name.startswith("quick_")},
        "coarse": plan.grain.block > 1,
        "pieces": in_pieces(plan),
        "third_stage": plan.config.backward.stages > 2,
        "describes": describes(plan),
        "schedules": schedules(plan),
        "outer": kv_outer(plan),
        "key_tile": _key_tile(plan),
        # Delta as the log-sum-exp lies, for those that read it beside the backward's tiles.
        "keeps_delta": plan.soft or plan.sink_origin is not None,
        "gathers": gathers(plan),
        "hopper": plan.config.hopper,
        "hopper_keys": HOPPER_KEYS,
        "gather_rows": max(16, next_power_of_two(plan.shape.group)),  # the fewest of a matrix instruction
        "own_most": _own_most(plan),
        "runs": plan.grain.queries > 1,
        "pools": pools(plan),
        "pool_keys": next_power_of_two(plan.grain.block),
        # All queries of a tile share a choice.
        "alike": plan.grain.queries % plan.config.tile == 0 and plan.grain.queries > 1 and not plan.documents,
        # The row of choices, the column of a query, and the number of columns, as the kernels call them.
        "choice": "choice" if plan.grain.per_kv_head else "batch",
        "choices": "choices" if plan.grain.per_kv_head else "batch",
        "own": "own" if plan.grain.block > 1 else "t",
        "limit": "columns" if plan.grain.block > 1 else "length",
        # The pooled key of a query's own block holds keys of later positions: that block has no score.
        "blind": plan.grain.pool is not None and plan.causal,
        "forced_most": _forced_most(plan),
        "score_template": _score_template(plan),
        "uses": uses,
        "partial_names": partial_names,
        "readers": {
            name: [i for i, r in enumerate(score.reductions) if name in dict(r.partials)] for name in partial_names
        }
        if score is not None
        else {},
        "unrolled": unrolled(plan),
        "folded": folded(plan),
        "one_instruction": _single_instructions(made),
        **stacks(plan),
        "budget": budget,
        # Every row has the same budget, and a contest that lies in one piece.
        "constant": budget is not None and not inputs(budget.expr) and not budget.statistics and _one_piece(plan),
        "budget_args": ", ".join(inputs(budget.expr)) if budget is not None else "",
        "ema_args": [", ".join(inputs(ema)) for ema in budget.emas] if budget is not None else [],
        "unspecialised": '["length", "first_tile", "tiles"]' if plan.listed else '["length"]',
        "unspecialised_chunk": '["length", "begin", "first_tile", "tiles"]',
        "logit_reads": plan.logit.reads if plan.logit is not None else (),
        "linear": plan.logit is None or plan.logit.linear,
        "has_bias": plan.has_bias,
        # The largest power of two that is no more than the heads.
        "slopes": 1 << plan.shape.heads.bit_length() - 1,
        "place_slack": PLACE_SLACK,
        "train_origin": plan.train_origin,
        "index_origin": plan.train_origin or (plan.logit.origin if plan.logit is not None else None),
        **_extras(plan, uses),
        "zs": "".join(f"z{i}, " for i in range(len(gates))),
        "zs_target": "(z0,) " if len(gates) == 1 else ", ".join(f"z{i}" for i in range(len(gates))) + " ",
        "index_names": ", ".join(["iq", "ik", *(f"i{name}" for name in ("w", "b") if uses[name])]),
        "n_gates": len(gates),
        "word_dtype": word,
    }


def _score_template(plan: Plan) -> str:
    """The kernel that scores columns."""
    name = "score_blocks" if plan.grain.reduce else "score_stacked" if stacked_scores(plan) else "score"
    return f"kernels/{name}.py.jinja"


def _single_instructions(made: tuple[Hook, ...]) -> list[str]:
    """Which functions of the hooks are one instruction on CUDA."""
    parts = (text for hook in made for text in (*(x for _, x in hook.printed.assignments), *hook.printed.results))
    printed = " ".join(parts)
    return [name for name, there in (("tanh", "quick_" in printed), ("relu", "relu(" in printed)) if there]


def surveys(plan: Plan) -> bool:
    """Whether long rows are selected from without writing their scores: a sample must tell about where thresholds lie.

    Tokens of whole sequences, and budgets whose statistics a sample has too; tiles of queries within those of scores,
    and with two bits a query in a word.
    """
    grain, budget, config = plan.grain, plan.budget, plan.config
    whole = grain.block == 1 and grain.queries == 1 and plan.causal and not plan.documents
    if budget is None or not whole or config.tile > 16 or config.score_rows < 16 or stacked(plan):
        return False
    if min(config.score_keys, config.scan_keys, config.sample) < 8:  # what a thread counts among its own
        return False
    return set(budget.statistics) <= {"mean", "var"} and not budget.levels


def pools(plan: Plan) -> bool:
    """Whether a kernel pools the keys: the attention's own, through which no gradient flows."""
    return plan.grain.pool is not None and plan.grain.own_keys


def _key_tile(plan: Plan) -> int:
    """Queries that meet a block of keys together in its gradients: part of a tile, but where all of it reads scores."""
    config, group = plan.config, next_power_of_two(plan.shape.group)
    if plan.soft:
        return config.tile
    return min(config.tile, max(config.backward_rows // group, 16 // group, 1))


def _one_piece(plan: Plan) -> bool:
    """Whether the keys that compete for a query's budget have no forced ones in their midst."""
    return plan.causal or not plan.last


def _own_most(plan: Plan) -> int:
    """The most keys that one query chooses, in whole steps of the gather."""
    if plan.budget is None:
        return 0
    most = plan.budget.most + plan.first + plan.last * (1 if plan.causal else 2)
    return -(-most // plan.config.gather_keys) * plan.config.gather_keys


def _columns(plan: Plan) -> dict[str, object]:
    """How blocks meet tiles: entries a list is padded by, and where token scores make them, blocks of a score tile."""
    config, block = plan.config, plan.grain.block
    columns, parts = max(config.score_keys // block, 1), max(block // config.score_keys, 1)
    return {
        # Rows of lists begin at multiples of 16 at every length: Triton would compile anew where they do not.
        "list_pad": max(max(config.block_keys, config.backward_keys) // block, 16, HOPPER_KEYS if config.hopper else 0),
        "columns_a_tile": columns,
        "parts_a_block": parts,
        "column_strip": max(config.strip // parts, 1) * columns,
    }


def _extras(plan: Plan, uses: dict[str, bool]) -> dict[str, object]:
    """What attention reads beside query, key, value and gates, as argument lists that end in a comma."""
    index = ["iq", "ik", *(f"i{name}" for name in ("w", "b") if uses[name])] if plan.soft else []
    sink = ["sink"] if plan.sink_origin is not None else []
    has_bias = plan.has_bias
    atomic = ["key and value"] if plan.listed and not kv_outer(plan) else []
    atomic += ["the bias table"] if has_bias else []
    atomic += ["the indexer"] if plan.soft else []

    def arguments(names: list[str]) -> str:
        return "".join(f"{name}, " for name in names)

    return {
        "given": arguments([*sink, *(["bias"] if has_bias else []), *index]),
        "read": arguments([*sink, *(["table"] if has_bias else []), *index]),
        "logit_args": arguments([*(["table"] if has_bias else []), *index]),
        "saved": arguments([*sink, *(["table", "place"] if has_bias else []), *index]),
        "extras": [*sink, *(["bias"] if has_bias else [])],
        "atomic": " and ".join(atomic),
        "always_atomic": has_bias or plan.soft,
    }


def _forced_most(plan: Plan) -> str:
    """What forced keys add to the most keys a tile of queries chooses together, as further terms of a sum."""
    terms = []
    if plan.first:
        # A tile may hold as many documents as queries.
        terms.append("TILE.value * FIRST.value" if plan.documents else "FIRST.value")
    if plan.last:
        tile = "TILE.value // UNIT.value + 1" if plan.grain.block > 1 else "TILE.value"
        terms.append(f"LAST.value + {tile}" if plan.causal else f"2 * LAST.value + {tile}")
    return "".join(f" + {term}" for term in terms)


def launches(plan: Plan) -> dict[str, dict[str, int]]:
    """The options each kernel of the module is launched with."""
    config = plan.config
    chosen = {
        "attend_fwd_kernel": config.attend,
        "attend_bwd_prepare_kernel": PREPARE_LAUNCH,
        "attend_bwd_query_kernel": config.backward,
        "attend_bwd_key_kernel": config.by_key,
    }
    for gate in plan.input_gates:
        chosen |= {f"{gate.target}_gate_{way}_kernel": GATE_LAUNCH for way in ("fwd", "bwd")}
    if plan.listed:
        chosen |= {"score_kernel": config.score, "threshold_kernel": config.threshold, "list_kernel": config.lists}
        if pools(plan):
            chosen |= {"pool_kernel": GATE_LAUNCH}
        if plan.grain.block > 1:
            chosen |= {"narrow_threshold_kernel": config.narrow}
        if gathers(plan):
            chosen |= {"part_kernel": config.lists, "gather_fwd_kernel": config.gathered}
        if surveys(plan):
            chosen |= {"survey_kernel": config.score, "guess_kernel": config.guess, "mark_kernel": config.score}
            chosen |= {"budget_kernel": BUDGET_LAUNCH, "keep_kernel": config.keep}
            chosen |= {"settle_kernel": config.settle, "redo_kernel": config.threshold, "collect_kernel": config.lists}
    if plan.soft:
        # It holds the backward's tiles beside the indexer's: a second stage would not leave room for them.
        chosen["attend_bwd_index_kernel"] = Launch(config.backward.warps, 1)
    if plan.temperature is not None:
        chosen["indexer_loss_kernel"] = config.loss
    if plan.trains and stacked(plan):
        chosen |= {"index_score_kernel": config.loss, "index_grad_kernel": config.loss}
    made = {name: {"num_warps": one.warps, "num_stages": one.stages} for name, one in chosen.items()}
    if config.hopper:
        made["attend_hopper_kernel"] = dict(HOPPER_LAUNCH)
    for name in SCORING & made.keys():
        made[name]["enable_fp_fusion"] = False
    return made


def meta(plan: Plan) -> dict[str, object]:
    """What the runtime must know of a module to check a call's tensors, as plain literals."""
    score, budget = plan.score, plan.budget
    gates: dict[str, dict[str, str]] = {}
    for gate in plan.gates:
        for gate_input in gate.inputs:
            one = {"name": gate_input.name, "target": gate.target, "granularity": gate_input.granularity}
            gates.setdefault(gate_input.name, one)
    return {
        "name": plan.name,
        "spec": plan.spec_name,
        "heads": plan.shape.heads,
        "kv_heads": plan.shape.kv_heads,
        "head_dim": plan.shape.head_dim,
        "value_dim": plan.shape.value_dim,
        "gates": list(gates.values()),
        "index": None if score is None else _index(plan, score),
        "budget_most": None if budget is None else budget.most,
        "ema_decay": [] if budget is None else list(budget.ema_decay),
        "ema_init": [] if budget is None else list(budget.ema_init),
        "trained": plan.temperature is not None,
        **({"extras": extras} if (extras := _shapes(plan)) else {}),
        **({} if plan.causal else {"full": True}),
        **({"documents": True} if plan.documents else {}),
        **({"grain": grain} if (grain := _grain(plan)) else {}),
        **({} if float32_fits(plan.shape, listed=plan.listed) else {"float32": False}),
    }


def _index(plan: Plan, score: ScorePlan) -> dict[str, object]:
    """The tensors of an indexer that a call passes: none where the attention's own are compared."""
    return {"heads": score.heads, "dim": score.dim, "tensors": [] if plan.grain.own_keys else list(score.tensors)}


def _grain(plan: Plan) -> dict[str, object]:
    """How fine choices are, where that is not a set of tokens a query."""
    names = ("block", "per_kv_head", "queries", "keys", "pool")
    return {name: value for name in names if (value := getattr(plan.grain, name)) != getattr(Grain(), name)}


def _shapes(plan: Plan) -> dict[str, list[int]]:
    """The learned tensors of a call and their shapes."""
    shapes = {"sink": [plan.shape.heads]} if plan.sink_origin is not None else {}
    if plan.logit is not None and plan.logit.bias is not None:
        shapes["bias"] = [plan.shape.heads, plan.logit.bias.size]
    return shapes


def _tidy(text: str) -> str:
    """Drop trailing blanks and runs of more than two blank lines."""
    lines: list[str] = []
    blank = 0
    for line in text.splitlines():
        line = line.rstrip()
        blank = blank + 1 if not line else 0
        if blank <= 2:
            lines.append(line)
    return "\n".join(lines).strip("\n") + "\n"
