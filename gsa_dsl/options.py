"""What a user may choose about the kernels, beside the spec: tile sizes and launches."""

from __future__ import annotations

from dataclasses import dataclass

CHUNK_ROWS = 1792
"""Queries whose scores are kept at a time where rows are long: enough tiles to keep a large GPU busy."""

STREAM_ROWS = 4096
"""Queries attended to in one launch, at least, where nothing needs a gradient."""

SURVEY_ROWS = 8192
"""Queries whose long rows are selected from together."""

REDO_ROWS = 256
"""Queries that a survey missed whose ranks are in memory at a time, one a program."""

SUM_TILES = 1024
"""Tiles of queries whose sums over many index heads are kept at a time, for the gradients of these."""

SURVEY_SHARE = 128
"""The config's ``sample`` over this is the step of a survey: one key in so many is looked at beforehand."""


@dataclass(frozen=True, slots=True)
class Launch:
    """``num_warps`` and ``num_stages`` of one kernel."""

    warps: int = 4
    stages: int = 2


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """Tile sizes of the generated kernels. All are powers of two.

    ``tile``: neighbouring queries handled together (1..32); ``block_keys``, ``backward_keys``: keys per step of the
    attention kernels; ``score_rows`` x ``score_keys``: a tile of indexer scores (with more than 8 index heads a program
    holds ``score_rows`` x 4 queries of one head each: 4 queries of 64 heads); ``strip``: score tiles a program walks;
    ``scan_keys``, ``list_keys``: scores per step of the selection; ``sample``: scores whose order brackets a row's
    threshold; ``workspace_mib``: memory for a chunk of scores.

    ``backward_rows``: queries times heads that meet a block of keys at a time, for the gradients of these.
    ``kv_outer``: where blocks are chosen, the tiles of queries that a program of a block's gradients walks at most; 0:
    a tile of queries adds the gradients of its keys atomically, as for tokens. ``gather``: where tokens are chosen, a
    tile whose union holds more than this percentage of what its queries chose, added up, is attended to a query at a
    time, ``gather_keys`` keys a step; 0 always, 100 never.

    ``hopper``: where tokens are chosen, on a GPU of compute capability 9.0, warps of the forward have jobs of their
    own: some copy keys, up to so many steps (2 to 4) ahead of those that attend to them; 0: all do both, as elsewhere.
    """

    tile: int = 8
    block_keys: int = 64
    backward_keys: int = 64
    score_rows: int = 64
    score_keys: int = 32
    strip: int = 16
    scan_keys: int = 2048
    list_keys: int = 1024
    sample: int = 2048
    workspace_mib: int = 256
    backward_rows: int = 64
    kv_outer: int = 64
    gather: int = 100
    gather_keys: int = 32
    hopper: int = 0
    attend: Launch = Launch(4, 2)
    gathered: Launch = Launch(1, 3)
    backward: Launch = Launch(8, 2)
    by_key: Launch = Launch(4, 2)
    score: Launch = Launch(4, 3)
    threshold: Launch = Launch(4, 1)
    narrow: Launch = Launch(1, 1)
    lists: Launch = Launch(4, 1)
    guess: Launch = Launch(2, 1)
    keep: Launch = Launch(2, 2)
    settle: Launch = Launch(4, 1)
    loss: Launch = Launch(8, 2)

    def __post_init__(self) -> None:
        tiles = ("tile", "block_keys", "backward_keys", "score_rows", "score_keys", "strip")
        for name in (*tiles, "scan_keys", "list_keys", "sample", "backward_rows", "kv_outer", "gather_keys"):
            value = getattr(self, name)
            if name == "kv_outer" and value == 0:
                continue
            if not isinstance(value, int) or value < 1 or value & (value - 1):
                raise ValueError(f"config.{name} must be a power of two, got {value!r}")
        if self.sample < 4:
            raise ValueError(f"config.sample must be at least 4, got {self.sample}")
        if self.tile > 32:
            raise ValueError(f"config.tile must be at most 32 (a mask word holds 32 queries), got {self.tile}")
        if not 0 <= self.gather <= 100:
            raise ValueError(f"config.gather must be a percentage, 0 to 100, got {self.gather!r}")
        if self.hopper not in (0, 2, 3, 4):
            raise ValueError(f"config.hopper must be 0, or steps ahead, 2 to 4, got {self.hopper!r}")
        if self.workspace_mib < 1:
            raise ValueError(f"config.workspace_mib must be at least 1, got {self.workspace_mib!r}")
