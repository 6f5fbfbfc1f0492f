"""What may be chosen for a plan: a product of small groups, one for each kernel that has knobs of its own.

Two fields are shared by several kernels (``tile``, ``backward_keys``); at fixed values of these, what is best for one
kernel does not depend on what another does. A search may therefore try a choice of every group in one run of one module
and add up the best: the space is large, what has to be measured is not.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from gsa_dsl.options import KernelConfig, Launch

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import Plan

Choice = tuple[tuple[str, int], ...]
"""Values of some fields, as (("block_keys", 64), ("attend.warps", 4)); fields of a launch are written with a dot."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A field of :class:`KernelConfig` and the values worth trying, the planner's own added where it is not there."""

    field: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The kernels whose time ``axes`` decide, given the values of the ``shared`` fields."""

    name: str
    kernels: tuple[str, ...]
    shared: tuple[str, ...]
    axes: tuple[Axis, ...]


SHARED = (
    Axis("tile", (1, 2, 4, 8, 16, 32)),
    Axis("backward_keys", (32, 64, 128)),
)
BY_KEY, NARROW = "by key", "narrow.warps"
GROUPS = (
    Group(
        "attend",
        ("attend_fwd_kernel",),
        ("tile",),
        (Axis("block_keys", (32, 64, 128)), Axis("attend.warps", (4, 8)), Axis("attend.stages", (2, 3, 4))),
    ),
    Group(
        "gather",
        ("gather_fwd_kernel",),
        ("tile",),
        (Axis("gather_keys", (32, 64)), Axis("gathered.warps", (1, 2)), Axis("gathered.stages", (2, 3, 4))),
    ),
    Group(
        "backward",
        ("attend_bwd_query_kernel", "attend_bwd_prepare_kernel"),
        ("tile", "backward_keys"),
        (Axis("backward.warps", (4, 8)), Axis("backward.stages", (1, 2, 3))),
    ),
    Group(
        BY_KEY,
        ("attend_bwd_key_kernel",),
        ("tile", "backward_keys"),
        (Axis("backward_rows", (32, 64)), Axis("by_key.warps", (4, 8)), Axis("by_key.stages", (2, 3, 4))),
    ),
    Group(
        "score",
        ("score_kernel",),
        (),
        (
            Axis("score_rows", (32, 64, 128)),
            Axis("score_keys", (32, 64, 128)),
            Axis("strip", (8, 16, 32)),
            Axis("score.warps", (4, 8)),
            Axis("score.stages", (1, 2, 3)),
        ),
    ),
    Group(
        "threshold",
        ("threshold_kernel",),
        (),
        (
            Axis("scan_keys", (1024, 2048, 4096)),
            Axis("sample", (1024, 2048)),
            Axis("threshold.warps", (4, 8)),
            Axis(NARROW, (1, 2)),
        ),
    ),
    Group("list", ("list_kernel",), ("tile",), (Axis("list_keys", (256, 512, 1024)), Axis("lists.warps", (2, 4, 8)))),
    Group(
        "loss",
        ("indexer_loss_kernel",),
        ("tile", "backward_keys"),
        (Axis("loss.warps", (4, 8)), Axis("loss.stages", (1, 2, 3))),
    ),
    Group("guess", ("guess_kernel",), (), (Axis("guess.warps", (1, 2, 4)),)),
    Group("keep", ("keep_kernel",), (), (Axis("keep.warps", (1, 2, 4)),)),
    Group("settle", ("settle_kernel",), (), (Axis("settle.warps", (2, 4, 8)),)),
)
RARE = {
    "attend": ("attend_hopper_kernel",),
    "backward": ("attend_bwd_index_kernel",),
    "score": ("pool_kernel", "survey_kernel", "mark_kernel"),
    "threshold": ("narrow_threshold_kernel", "redo_kernel"),
    "list": ("collect_kernel", "part_kernel"),
    "settle": ("budget_kernel",),
    "loss": ("index_score_kernel", "index_grad_kernel"),
}
"""Kernels of a group that few plans have; no part of :func:`space_digest`, as they add no choice."""
WORKSPACE = Axis("workspace_mib", (128, 256, 512))
"""How many queries are chosen for at a time touches every kernel of the selection: no kernel by itself decides it."""
GATHER = Axis("gather", (40, 66))
"""From which overlap on, measured on the GPU at every call; never to gather would be found only for inputs like those
that times are taken on, and be slow on others.
"""
KV_OUTER = Axis("kv_outer", (0, 64))
"""Which kernels do the work: the time of one alone says nothing of the other."""
SURVEYED = ("sample",)
"""Likewise where rows are surveyed: from which row on, and how many keys for, is a matter of several kernels."""


UNSEARCHED = ("hopper",)
"""Fields of a configuration that no search chooses."""


@dataclass(frozen=True, slots=True)
class Space:
    """Everything that may be chosen for one plan; ``base`` is the planner's own choice and always part of it.

    ``group_pad``, ``dim``, ``index_dim`` (0 without an indexer) and ``stacked_heads`` (0 where they are not), as padded
    in the kernels, are what a static estimate needs of the plan. ``whole`` are fields that no kernel's time decides:
    they are tried last, on whole calls.
    """

    base: KernelConfig
    shared: tuple[Axis, ...]
    groups: tuple[Group, ...]
    whole: tuple[Axis, ...]
    group_pad: int
    dim: int
    index_dim: int
    stacked_heads: int

    def combinations(self) -> tuple[Choice, ...]:
        """Every combination of the shared fields' values."""
        return tuple(product(self.shared))

    def choices(self, group: Group) -> tuple[Choice, ...]:
        """Every choice of a group's own fields."""
        return tuple(product(group.axes))

    @property
    def size(self) -> int:
        """How many configurations the product holds."""
        axes = (axis for part in (self.shared, self.whole, *(group.axes for group in self.groups)) for axis in part)
        return math.prod(len(axis.values) for axis in axes)

    @property
    def to_measure(self) -> int:
        """How many times a kernel would have to be measured to know the best of the whole product."""
        return sum(len(self.slots(group)) * len(self.choices(group)) for group in self.groups)

    def slots(self, group: Group) -> tuple[Choice, ...]:
        """The combinations of shared values that a group's time depends on."""
        return tuple(dict.fromkeys(project(combination, group.shared) for combination in self.combinations()))


def space_of(plan: Plan) -> Space:
    """The space of a plan: the groups whose kernels it has, and tiles that matrix instructions and registers bear."""
    from gsa_dsl.codegen.emit import launches, surveys
    from gsa_dsl.codegen.stacks import stacked_scores
    from gsa_dsl.passes.schedule import gathers, kv_outer, next_power_of_two

    base, kernels = plan.config, set(launches(plan))
    group_pad = next_power_of_two(plan.shape.group)
    tiles = Axis("tile", tuple(tile for tile in SHARED[0].values if 16 <= tile * group_pad <= 256))
    # Lists of tokens have a kernel of keys too, but for the warm-up alone.
    idle = {BY_KEY} if plan.listed and not kv_outer(plan) else set()
    groups = [group for group in GROUPS if kernels.intersection(group.kernels) and group.name not in idle]
    heads = next_power_of_two(plan.score.heads) if plan.score is not None and stacked_scores(plan) else 0
    rare = RARE | {"backward": (*RARE["backward"], "attend_bwd_key_kernel")} if idle else RARE
    # Fields that no kernel's time decides alone, or that none reads.
    apart = SURVEYED if surveys(plan) else ()
    unread = () if "narrow_threshold_kernel" in kernels else (NARROW,)
    whole = [axis for group in groups for axis in group.axes if axis.field in apart]
    whole += [WORKSPACE] if plan.score is not None else []
    whole += [GATHER] if gathers(plan) else []
    whole += [KV_OUTER] if kv_outer(plan) else []
    return Space(
        base=base,
        shared=tuple(_with_base(axis, base) for axis in (tiles, *SHARED[1:])),
        groups=tuple(
            Group(
                group.name,
                (*group.kernels, *(name for name in rare.get(group.name, ()) if name in kernels)),
                group.shared,
                tuple(_with_base(axis, base) for axis in group.axes if axis.field not in (*apart, *unread)),
            )
            for group in groups
        ),
        whole=tuple(_with_base(axis, base) for axis in whole),
        group_pad=group_pad,
        dim=max(16, next_power_of_two(plan.shape.head_dim)),
        index_dim=0 if plan.score is None else max(16, next_power_of_two(plan.score.dim)),
        stacked_heads=heads,
    )


def _with_base(axis: Axis, base: KernelConfig) -> Axis:
    return Axis(axis.field, tuple(sorted({*axis.values, value_of(base, axis.field)})))


def product(axes: Iterable[Axis]) -> Iterable[Choice]:
    """Every combination of values of ``axes``."""
    axes = tuple(axes)
    for values in itertools.product(*(axis.values for axis in axes)):
        yield tuple((axis.field, value) for axis, value in zip(axes, values, strict=True))


def value_of(config: KernelConfig, field: str) -> int:
    """The value of a field, ``"tile"`` or ``"attend.warps"``."""
    value: Any = config
    for name in field.split("."):
        value = getattr(value, name)
    return int(value)


def choice_of(config: KernelConfig, names: Iterable[str]) -> Choice:
    """What ``config`` has in these fields."""
    return tuple((name, value_of(config, name)) for name in names)


def project(choice: Choice, names: Iterable[str]) -> Choice:
    """The part of a choice that concerns these fields."""
    kept = set(names)
    return tuple((name, value) for name, value in choice if name in kept)


def with_choice(config: KernelConfig, choice: Choice) -> KernelConfig:
    """``config`` with the fields of ``choice`` set."""
    changed: dict[str, Any] = {}
    for name, value in choice:
        outer, _, inner = name.partition(".")
        if inner:
            changed[outer] = replace(changed.get(outer, getattr(config, outer)), **{inner: value})
        else:
            changed[outer] = value
    return replace(config, **changed)


def config_to_json(config: KernelConfig) -> dict[str, Any]:
    """Plain values: numbers, and of a launch a pair."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: [x.warps, x.stages] if isinstance(x, Launch) else x for name, x in values.items()}


def config_from_json(data: Mapping[str, Any]) -> KernelConfig:
    """The inverse of :func:`config_to_json`. Raises ValueError or TypeError for what is no configuration."""
    values: dict[str, Any] = {name: Launch(*x) if isinstance(x, list) else x for name, x in data.items()}
    return KernelConfig(**values)


def difference(config: KernelConfig, base: KernelConfig) -> str:
    """What ``config`` has other than ``base``, as ``tile=16, attend=(4, 3)``; ``the default`` if nothing."""
    mine, other = config_to_json(config), config_to_json(base)
    changed = (f"{name}={tuple(x) if isinstance(x, list) else x}" for name, x in mine.items() if x != other[name])
    return ", ".join(changed) or "the default"


def space_digest() -> str:
    """Changes whenever other values may be chosen, or the configuration has other fields."""
    axes = (SHARED, GROUPS, WORKSPACE, GATHER, KV_OUTER, SURVEYED)
    searched = tuple(field.name for field in fields(KernelConfig) if field.name not in UNSEARCHED)
    text = repr((axes, searched))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
