"""The pipeline, and what it yields: ``compile`` runs the stages, ``CompiledAttention`` is called like a function."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, overload

import torch

from gsa_dsl import __version__
from gsa_dsl.backends import BACKENDS, TUNING
from gsa_dsl.diagnostics.span import Source
from gsa_dsl.frontend.library import among, bare_names, bases_of, load, with_bases
from gsa_dsl.results import Aux, Selection
from gsa_dsl.runtime import loader, validate

if TYPE_CHECKING:
    from gsa_dsl.ir.plan import Plan
    from gsa_dsl.nn import GSAttention
    from gsa_dsl.options import KernelConfig
    from gsa_dsl.reference.dense import ReferenceResult
    from gsa_dsl.sema.cost import CostTable, Figures
    from gsa_dsl.sema.typed import CheckedSpec
    from gsa_dsl.tuning.found import Progress
    from gsa_dsl.tuning.lookup import Chosen
    from gsa_dsl.tuning.tuner import TuneReport

WIDEST_HEAD = 256

log = logging.getLogger("gsa_dsl")


class CompiledAttention:
    """An attention for one head shape, made by :func:`compile` and called like ``scaled_dot_product_attention``."""

    def __init__(
        self,
        path: Path,
        module: ModuleType,
        backend: str,
        recipe: Mapping[str, Any],
        source: Source,
        origin: str | None = None,
    ) -> None:
        self.path = path
        self.origin = origin
        self.backend = backend
        self.recipe = dict(recipe)
        self.meta: dict[str, Any] = module.META
        self._module = module
        self._source = source
        self._suited: dict[tuple[torch.dtype, int, int | None], CompiledAttention] = {}
        self._variants: dict[KernelConfig, CompiledAttention] = {}

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        gates: Mapping[str, torch.Tensor] | None = None,
        index: Mapping[str, torch.Tensor] | None = None,
        ema: torch.Tensor | None = None,
        phase: str = "sparse",
        selection: torch.Tensor | Selection | None = None,
        extras: Mapping[str, torch.Tensor] | None = None,
        documents: torch.Tensor | None = None,
        return_aux: bool = False,
    ) -> Any:
        """Attend.

        Args:
            query: [batch, heads, length, head_dim], any strides; float16, bfloat16 or float32 (any float for 'torch').
            key, value: [batch, kv_heads, length, head_dim], value with value_dim; dtype and device of query.
            gates: for each gate its ``linear(x)`` before the activation, and what it is ``given`` under its name: per
                element in the shape of what is gated, per head without features, shared [batch, length].
            index: the indexer's tensors the spec uses: q [batch, J, length, dI], k [batch, length, dI],
                w [batch, J, length], b [J]; w and b may be float32.
            ema: [emas] float32, the running means before this step; the spec's initial values if left out.
            phase: "sparse", or "warmup" to attend to every key a query sees while the indexer learns (DeepSeek's DSA).
            selection: use this choice, bool [batch, query, key] or an earlier ``aux.selection``, not the indexer's.
            extras: the learned tensors of the logits that the spec has, also in float32: sink [heads] and bias
                [heads, places].
            documents: for a spec that says ``documents``, integer ids [batch, length]: positions next to each other
                with equal ids are one document. On the CPU an id that comes back later is refused; on a GPU, where
                looking would wait for the device, it is a document of its own.
            return_aux: also return an :class:`Aux`; the indexer's loss is computed only then.

        Returns:
            The output, like query but with value_dim features; with ``return_aux`` a pair of it and the :class:`Aux`.
            Gradients flow to query, key, value, gates and extras through the output, and to ``index`` through
            ``aux.indexer_loss`` and, where the logit reads the score, through the output.

        Raises:
            OperandError: an operand does not fit; the message names it, what it is and what the spec asks.
        """
        gates, index, extras = gates or {}, index or {}, extras or {}
        validate.check_call(self.meta, self.backend, query, key, value, gates, index, ema, phase, selection, extras)
        validate.check_documents(self.meta, documents, query)
        suited = self._suited_to(query.dtype, query.shape[2], query.device)
        return suited._attend(query, key, value, gates, index, ema, phase, selection, extras, documents, return_aux)

    def _suited_to(self, dtype: torch.dtype, length: int, device: torch.device) -> CompiledAttention:
        """The same attention with the tile sizes for such calls: decided once a length bucket (a power of two)."""
        if self.backend != "triton" or self.recipe["config"] is not None:
            return self
        asked = (dtype, (length - 1).bit_length(), device.index)
        if asked not in self._suited:
            chosen = self.tuned(length, dtype=dtype, device=device)
            if chosen is not None:
                log.info("gsa_dsl: %s at %d tokens: %s", self.meta["name"], length, chosen.origin)
                made = self.with_config(chosen.config, f"tuned on {chosen.entry.key.gpu}")
            else:
                made = self.with_config(self.planned_config(dtype))
            self._suited[asked] = made
        return self._suited[asked]

    def with_config(self, config: KernelConfig, origin: str | None = None) -> CompiledAttention:
        """The same attention with these tile sizes; ``origin`` is said in the generated file's header."""
        if config == self.config:
            return self
        if config not in self._variants:
            recipe = {**self.recipe, "config": config}
            self._variants[config] = _build(recipe, self.path.parent.parent, self._source, origin)
        return self._variants[config]

    @property
    def config(self) -> KernelConfig:
        """The tile sizes of this module; calls that the tuner knows better ones for use another (:meth:`tuned`)."""
        given: KernelConfig | None = self.recipe["config"]
        return self.planned_config() if given is None else given

    def planned_config(self, dtype: torch.dtype = torch.bfloat16) -> KernelConfig:
        """The planner's; four-byte operands get smaller tiles."""
        from gsa_dsl.ir.plan import Grain, HeadShape
        from gsa_dsl.passes.schedule import default_config

        shape = HeadShape(self.meta["heads"], self.meta["kv_heads"], self.meta["head_dim"], self.meta["value_dim"])
        index = self.meta["index"]
        grain = None if index is None else Grain(**self.meta.get("grain", {}))
        heads = None if index is None else (index["heads"], index["dim"])
        bias = "bias" in self.meta.get("extras", {})
        return default_config(shape, grain, itemsize=max(dtype.itemsize, 2), bias=bias, index=heads)

    def tuned(
        self, length: int, *, dtype: torch.dtype = torch.bfloat16, device: torch.device | str | None = None
    ) -> Chosen | None:
        """The tuned tile sizes that calls of this length on that GPU use, and where they are from; None for none.

        Only the backend 'triton' has any, and only without ``config=`` and ``tune="off"``. Reads the store, never
        searches.
        """
        if self._untunable() is not None or self.recipe["tune"] == "off":
            return None
        from gsa_dsl.tuning.key import key_for, machine, spec_digest
        from gsa_dsl.tuning.lookup import TYPICAL_OVERLAP, lookup
        from gsa_dsl.tuning.store import Store

        meta, name = self.meta, str(dtype).removeprefix("torch.")
        digest = spec_digest(self._source.text, self.recipe["params"])
        shape = (meta["heads"], meta["kv_heads"], meta["head_dim"])
        overlap = None if meta["index"] is None else TYPICAL_OVERLAP
        here = machine(None if device is None else torch.device(device).index)
        return lookup(key_for(digest, shape, name, length, overlap, here), Store.of_user(self.path.parent.parent))

    def _untunable(self) -> str | None:
        """Why no tile sizes are looked up or searched for, if none are."""
        if self.backend != "triton":
            return f"backend is {self.backend!r}"
        if self.recipe["config"] is not None:
            return "config= was given"
        if self.meta["value_dim"] != self.meta["head_dim"]:
            return "value_dim differs from head_dim, which results are not stored for yet"
        if self._source.base is not None:
            return "the spec extends another, which results are not stored for yet"
        return None

    def tune(
        self,
        lengths: Sequence[int] = (8192,),
        *,
        budget: float = 60.0,
        overlap: float = 0.9,
        dtype: torch.dtype = torch.bfloat16,
        again: bool = False,
        progress: Callable[[int, Progress], None] | None = None,
    ) -> TuneReport:
        """Search for the fastest tile sizes on the current GPU, store them, and use them from now on.

        Args:
            lengths: sequence lengths; each is rounded up to a power of two, and what is stored is not searched again.
            budget: seconds a length.
            overlap: how alike neighbouring queries choose (mean Jaccard index) in the inputs that times are taken on.
            dtype: of the operands.
            again: search also where the store has a result.
            progress: told (length, progress) after every wave of measurements.

        Raises:
            ValueError: the backend is not 'triton', the tile sizes were given by ``config=``, or values have another
                width than keys, or the spec extends another.
        """
        why = self._untunable()
        if why is not None:
            raise ValueError(f"tuning chooses the tile sizes of Triton kernels on a GPU; here {why}")
        from gsa_dsl.tuning.key import machine
        from gsa_dsl.tuning.store import Store
        from gsa_dsl.tuning.tuner import Subject, tune

        shape = (self.meta["heads"], self.meta["kv_heads"], self.meta["head_dim"])
        name = str(dtype).removeprefix("torch.")
        report = tune(
            Subject(self._source.text, self._source.name, self.recipe["params"], *shape, dtype=name),
            lengths=lengths,
            machine=machine(),
            store=Store.of_user(self.path.parent.parent),
            overlap=overlap,
            budget=budget,
            again=again,
            progress=progress,
        )
        self._suited.clear()
        return report

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        gates: Mapping[str, torch.Tensor],
        index: Mapping[str, torch.Tensor],
        ema: torch.Tensor | None,
        phase: str,
        selection: torch.Tensor | Selection | None,
        extras: Mapping[str, torch.Tensor],
        documents: torch.Tensor | None,
        return_aux: bool,
    ) -> Any:
        if ema is None and self.meta["ema_init"]:
            ema = torch.tensor(self.meta["ema_init"], dtype=torch.float32, device=query.device)
        elif ema is not None:
            ema = ema.detach().to(query.device, torch.float32)
        more: dict[str, Any] = {} if documents is None else {"documents": documents}
        more |= {"extras": extras} if extras else {}
        chosen: Any = selection
        if isinstance(selection, Selection):
            # Lists are laid out for one module's tiles; a choice made by another module goes through its mask.
            chosen = selection.lists if selection.module is self._module else selection.mask()
        elif selection is not None and self.meta.get("grain", {}).get("block", 1) > 1:
            chosen = selection  # kernels leave out what a query does not see of a block
        elif selection is not None:
            # whatever a mask says of other keys, a query does not see them
            chosen = selection if self.meta.get("full") else selection.tril()
            if documents is not None:
                start = self._module.document_spans(documents).start
                same = start[:, :, None] == start[:, None, :]
                chosen = chosen & (same if chosen.dim() == 3 else same[:, None])
        result = self._module.attention(query, key, value, gates, index, ema, phase, chosen, return_aux, **more)
        if not return_aux:
            return result.output
        kept = None if result.lists is None else Selection(result.lists, query.shape[2], self._module)
        return result.output, Aux(result.lse, result.budget, result.indexer_loss, result.ema_inputs, kept)

    def reference(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Any) -> ReferenceResult:
        """The same call by the dense float64 reference, straight from the checked spec; memory O(L^2)."""
        from gsa_dsl.reference.dense import reference

        selection = kwargs.get("selection")
        if isinstance(selection, Selection):
            kwargs["selection"] = selection.mask()
        return reference(self.spec, query, key, value, **kwargs)

    def module(self, d_model: int, **kwargs: Any) -> GSAttention:
        """An ``nn.Module`` around it: projections, RoPE, gates, indexer; see :class:`gsa_dsl.GSAttention`."""
        from gsa_dsl.nn import GSAttention

        return GSAttention(self, d_model, **kwargs)

    @overload
    def cost(self) -> CostTable: ...

    @overload
    def cost(self, L: int, *, B: int = 1, itemsize: int = 2) -> tuple[Figures, ...]: ...

    def cost(self, L: int | None = None, *, B: int = 1, itemsize: int = 2) -> CostTable | tuple[Figures, ...]:
        """What every construct costs: the formulas, or with a length ``L`` their values for this head shape.

        Values count flops of a forward pass (and of training the indexer), bytes read and written, bytes of memory
        beside inputs and outputs, and keys selected per query; the last row is the total. ``B``: batch size;
        ``itemsize``: bytes of an operand's element.
        """
        from gsa_dsl.sema.cost import cost

        table = cost(self.spec)
        if L is None:
            return table
        meta = self.meta
        heads = meta["heads"], meta["kv_heads"], meta["head_dim"]
        return table.evaluate(L, *heads, B, itemsize, value_dim=meta["value_dim"])

    @functools.cached_property
    def spec(self) -> CheckedSpec:
        """The checked spec with this compilation's parameters; parsed on first use, a cached compile skips it."""
        # The bounds were decided when the module was generated.
        return _check(self._source, self.recipe["params"], bounds=False)

    @property
    def source(self) -> str:
        """The generated module's text."""
        return self.path.read_text(encoding="utf-8")

    @property
    def kernels(self) -> ModuleType:
        """The loaded generated module."""
        return self._module

    def __repr__(self) -> str:
        meta = self.meta
        shape = f"heads={meta['heads']}, kv_heads={meta['kv_heads']}, head_dim={meta['head_dim']}"
        if meta["value_dim"] != meta["head_dim"]:
            shape += f", value_dim={meta['value_dim']}"
        return (
            f"CompiledAttention({meta['name']}, {shape}, backend={self.backend!r}, config={self._config_said()}, "
            f"path={str(self.path)!r})"
        )

    def _config_said(self) -> str:
        if self.recipe["config"] is not None:
            return "given"
        tuned = sorted({1 << bucket for (_, bucket, _), made in self._suited.items() if made.origin is not None})
        return f"tuned up to {', '.join(map(str, tuned))} tokens" if tuned else "default"

    def __copy__(self) -> CompiledAttention:
        return self  # nothing of it ever changes

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledAttention:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _recompile, (self.recipe,)


def compile(
    spec: str | os.PathLike[str],
    *,
    heads: int,
    head_dim: int,
    kv_heads: int | None = None,
    value_dim: int | None = None,
    backend: str = "auto",
    config: KernelConfig | None = None,
    tune: str = "cached",
    tune_lengths: Sequence[int] = (8192,),
    cache_dir: str | os.PathLike[str] | None = None,
    name: str | None = None,
    params: Mapping[str, int | float] | None = None,
    bases: Mapping[str, str] | None = None,
    **more_params: int | float,
) -> CompiledAttention:
    """Compile a spec for one head shape.

    Args:
        spec: a path to a ``.gsa`` file, or the text of a spec (anything with a ``{``).
        heads, kv_heads: query heads, key/value heads (default: heads).
        head_dim, value_dim: width of a head in queries and keys, and in values and output (default: head_dim).
        backend: 'triton' (CUDA), 'interpret' (the same kernels on the CPU, slow, for debugging), 'torch' (eager, any
            device), or 'auto': triton where CUDA is available, else torch; it logs which.
        config: tile sizes of the kernels; if left out, the planner's default (for float32 calls of 'triton', a second
            module with smaller tiles, generated when the first one is made).
        tune: 'cached' (use tuned tile sizes where the store has some for the GPU and the length of a call, and never
            search), 'now' (search here for what the store lacks at ``tune_lengths``, a minute each), or 'off'.
        tune_lengths: sequence lengths for ``tune="now"``.
        cache_dir: where the generated module is kept; default ``$GSA_DSL_CACHE_DIR`` or the user's cache folder.
        name: what messages and comments call the spec; default the file's name.
        params: values for the spec's parameters, also accepted as plain keyword arguments.
        bases: for a spec given as text, the texts of those it extends, by name; a file's are read from its folder.

    Raises:
        SpecError: the spec is wrong; holds every mistake found. Nothing is written.
        ValueError: heads, backend, config or bases make no sense.
        FileNotFoundError: ``spec`` names a file that does not exist.
    """
    shape = head_shape(heads, kv_heads, head_dim, value_dim)
    chosen = _backend(backend)
    if tune not in TUNING:
        raise ValueError(f"tune must be one of {', '.join(TUNING)}, got {tune!r}")
    if tune == "now" and config is not None:
        raise ValueError("tune='now' searches for what config= already says; leave one of them out")
    values = {**(params or {}), **more_params}
    source = _read(spec, name, bases)
    recipe = {
        "spec": source.text,
        "name": source.name,
        "bases": bases_of(source) or None,
        "heads": shape[0],
        "kv_heads": shape[1],
        "head_dim": shape[2],
        "value_dim": shape[3],
        "backend": chosen,
        "config": config,
        # A copy of the attention must not search again.
        "tune": "off" if tune == "off" else "cached",
        "params": values,
    }
    compiled = _build(recipe, loader.cache_folder(cache_dir), source)
    if tune == "now" and chosen == "triton":
        compiled.tune(tune_lengths)
    return compiled


def _build(recipe: Mapping[str, Any], folder: Path, source: Source, origin: str | None = None) -> CompiledAttention:
    """The attention of a recipe; its module is generated unless ``folder`` has it, with ``origin`` in its header."""
    path = _module_path(recipe, folder, origin)
    with _collector_paused():
        if not path.is_file():
            shape = tuple(recipe[name] for name in ("heads", "kv_heads", "head_dim", "value_dim"))
            loader.keep(path, generate(source, recipe["params"], shape, recipe["config"], recipe["backend"], origin))
        module = loader.load_module(path, interpret=recipe["backend"] == "interpret")
    return CompiledAttention(path, module, recipe["backend"], recipe, source, origin)


def generate(
    source: Source,
    params: Mapping[str, int | float],
    shape: tuple[int, ...],
    config: KernelConfig | None,
    backend: str,
    origin: str | None = None,
) -> str:
    """The stages one after another, from text to the text of a Python module. Pure: writes nothing.

    ``origin`` says where ``config`` is from, for the module's header.
    """
    plan = replace(plan_of(source, params, shape, config), config_origin=origin)
    from gsa_dsl.codegen.emit import emit_torch, emit_triton

    return emit_torch(plan) if backend == "torch" else emit_triton(plan)


def plan_of(
    source: Source, params: Mapping[str, int | float], shape: tuple[int, ...], config: KernelConfig | None = None
) -> Plan:
    """The plan of a spec for ``shape`` = (heads, kv_heads, head_dim), with a value_dim where that is another."""
    from gsa_dsl.ir.lower import lower
    from gsa_dsl.ir.plan import HeadShape

    return lower(_check(source, params), HeadShape(*shape), config)


def _check(source: Source, params: Mapping[str, int | float], *, bounds: bool = True) -> CheckedSpec:
    from gsa_dsl.sema.check import parse_and_check

    return parse_and_check(source, params, bounds=bounds)


def _read(spec: str | os.PathLike[str], name: str | None, bases: Mapping[str, str] | None) -> Source:
    if isinstance(spec, str) and ("{" in spec or "\n" in spec):
        text = Source(name or "<string>", spec)
        return text if bases is None else with_bases(text, among(bases))
    if bases is not None:
        raise ValueError("bases goes with a spec given as text; those that a file extends are read from its folder")
    source = bare_names(load(Path(spec)))
    return replace(source, name=name or source.name)


def head_shape(
    heads: int, kv_heads: int | None, head_dim: int, value_dim: int | None = None
) -> tuple[int, int, int, int]:
    """(heads, kv_heads, head_dim, value_dim) if kernels can be made for them; ValueError says what is wrong if not."""
    kv_heads = heads if kv_heads is None else kv_heads
    value_dim = head_dim if value_dim is None else value_dim
    sizes = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "value_dim": value_dim}
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive int, got {value!r}")
    if heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads, got heads={heads}, kv_heads={kv_heads}")
    for name in ("head_dim", "value_dim"):
        if sizes[name] > WIDEST_HEAD:
            raise ValueError(f"{name} must be at most {WIDEST_HEAD}, got {sizes[name]}")
    return heads, kv_heads, head_dim, value_dim


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: modules and grammar tables survive it, to find so took a sixth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@functools.cache
def _auto() -> str:
    """What ``backend='auto'`` means on this machine; said once."""
    chosen = "triton" if torch.cuda.is_available() else "torch"
    why = "CUDA is available" if chosen == "triton" else "no CUDA device"
    log.warning("gsa_dsl: backend 'auto' is %r here (%s)", chosen, why)
    return chosen


def _backend(backend: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        return _auto()
    if backend == "triton" and not torch.cuda.is_available():
        raise ValueError("backend 'triton' needs a CUDA device and there is none; use 'torch', or 'interpret' to debug")
    return backend


def _module_path(recipe: Mapping[str, Any], folder: Path, origin: str | None) -> Path:
    """The cache file of a compilation: its name holds the spec's and a digest of everything the text depends on."""
    config = recipe["config"]
    key = {
        **{name: recipe[name] for name in ("spec", "name", "heads", "kv_heads", "head_dim", "value_dim")},
        "bases": list((recipe["bases"] or {}).items()),
        "params": sorted(recipe["params"].items()),
        "backend": "torch" if recipe["backend"] == "torch" else "triton",
        "config": None if config is None else asdict(config),
        "origin": origin,
        "version": __version__,
        "compiler": loader.compiler_fingerprint(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    stem = Path(recipe["name"]).stem.strip("<>") or "spec"
    safe = "".join(c if c.isalnum() or c == "_" else "_" for c in stem)
    return folder / "modules" / f"{safe}_{key['backend']}_{digest}.py"


def _recompile(recipe: Mapping[str, Any]) -> CompiledAttention:
    """Compile again from a recipe: what unpickling does."""
    return compile(**recipe)
