"""Tile sizes for verification in the interpreter: so small that a few dozen positions cross every kind of boundary."""

from __future__ import annotations

from gsa_dsl.options import KernelConfig


def tiles_for(backend: str, heads: int, kv_heads: int) -> KernelConfig | None:
    """What verification compiles with: small tiles for interpreted kernels, else the planner's (None)."""
    return small_tiles(heads, kv_heads) if backend == "interpret" else None


def small_tiles(heads: int, kv_heads: int) -> KernelConfig:
    """Small tiles for these heads: a matrix instruction has at least 16 rows, of 8 queries or more.

    Score tiles are taller than wide, lower than a scan is long, and come in strips of several; a row of 32 keys is
    long enough for a sampled bracket; blocks of keys, scans and lists end within lengths that are quick to interpret.
    Some tiles' queries share enough to be attended to together, and some do not.
    """
    group = heads // kv_heads
    tile = max(8, 16 // (1 << (group - 1).bit_length()))
    return KernelConfig(
        tile=tile,
        block_keys=16,
        backward_keys=16,
        score_rows=16,
        score_keys=8,
        strip=2,
        scan_keys=32,
        list_keys=16,
        sample=8,
        backward_rows=16,
        kv_outer=2,
        gather=60,
        gather_keys=16,
    )
