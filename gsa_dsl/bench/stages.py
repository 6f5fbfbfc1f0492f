"""From times of kernels to times of stages: the one table of which kernel belongs to what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

STAGES: dict[str, tuple[str, ...]] = {
    "gates": tuple(
        f"{target}_gate_{way}_kernel" for target in ("query", "key", "value", "output") for way in ("fwd", "bwd")
    ),
    "scores": ("pool_kernel", "score_kernel", "survey_kernel", "mark_kernel"),
    "thresholds": (
        "threshold_kernel",
        "narrow_threshold_kernel",
        "guess_kernel",
        "budget_kernel",
        "keep_kernel",
        "settle_kernel",
        "redo_kernel",
    ),
    "lists": ("list_kernel", "collect_kernel"),
    "attention": ("attend_fwd_kernel", "attend_hopper_kernel", "part_kernel", "gather_fwd_kernel"),
    "backward, prepared": ("attend_bwd_prepare_kernel",),
    "dq": ("attend_bwd_query_kernel",),
    "dk, dv": ("attend_bwd_key_kernel",),
    "indexer through the logits": ("attend_bwd_index_kernel",),
    "indexer's loss": ("index_score_kernel", "indexer_loss_kernel", "index_grad_kernel"),
}
"""Stages in their order, each with the kernels of generated modules that do it."""

OTHER = "other"
"""Kernels that are not a generated module's: PyTorch's own."""

ATTENTION = ("attention", "backward, prepared", "dq", "dk, dv")
"""The stages whose work is in proportion to the pairs attended to."""

_STAGE_OF = {kernel: stage for stage, kernels in STAGES.items() for kernel in kernels}


def stage_of(kernel: str) -> str:
    """The stage that a kernel of a generated module belongs to. Raises KeyError for one that the table lacks."""
    return _STAGE_OF[kernel]


def own_kernels(times: Mapping[str, float], own: Iterable[str]) -> dict[str, float]:
    """``times`` of the kernels in ``own``, all others added up as :data:`OTHER`; empty where ``times`` is."""
    if not times:
        return {}
    names = set(own)
    kept = {name: ms for name, ms in times.items() if name in names}
    return kept | {OTHER: sum(ms for name, ms in times.items() if name not in names)}


def stages(kernels: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by stage, in the table's order, of what :func:`own_kernels` gave; no stage without a kernel."""
    found: dict[str, float] = {}
    for kernel, ms in kernels.items():
        stage = OTHER if kernel == OTHER else stage_of(kernel)
        found[stage] = found.get(stage, 0.0) + ms
    return {stage: found[stage] for stage in (*STAGES, OTHER) if stage in found}
