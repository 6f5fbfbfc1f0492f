"""The attention of others on the same tensors: what each computes, said as a spec, and how it is run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from gsa_dsl.bench.check import check_place, places
from gsa_dsl.bench.flex import Attend, flex, scale_of
from gsa_dsl.bench.gauge import Gauge
from gsa_dsl.bench.records import Rival, Timed, Work
from gsa_dsl.results import Selection
from gsa_dsl.sema import typed
from gsa_dsl.sema.typed import CheckedSpec, Forced
from gsa_dsl.testing.inputs import Inputs

NAMES = {"flash": "SDPA flash", "cudnn": "SDPA cuDNN", "flex": "FlexAttention"}
"""The rivals by the names that options give them."""

_BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
_LARGEST_CHOICE = 2 << 30  # bytes of a mask of queries and blocks that FlexAttention looks a choice up in
_PLACES = 4


@dataclass(frozen=True, slots=True)
class Contender:
    """A rival before it is run: ``spec`` is what it computes, ``inputs`` what it is given, ``selection`` the choice
    that it is to use, if any. ``prepare`` makes the call; it may compile.
    """

    name: str
    function: str
    spec: CheckedSpec
    inputs: Inputs
    selection: Selection | None
    prepare: Callable[[], Attend]

    @property
    def key(self) -> tuple[object, ...] | None:
        """What its times depend on, if not on a choice that was made; None if on that."""
        if self.selection is not None:
            return None
        what = (self.spec.name, self.spec.params) if self.function == SAME else ()
        shapes = (tuple(x.shape) for x in (self.inputs.query, self.inputs.key, self.inputs.value))
        scale = None if self.spec.scale is None else typed.key(self.spec.scale)
        return self.name, self.function, *what, scale, *shapes


SAME = "same mask"
"""The function of a rival that computes the spec's own, without its gates."""


def contenders(names: list[str], spec: CheckedSpec, inputs: Inputs, selection: Selection | None) -> Iterator[Contender]:
    """The rivals of a call on ``inputs`` that made a choice (``selection``), in the order of ``names``."""
    for name in names:
        if name == "flex":
            yield _flex(spec, inputs, selection)
        else:
            plain = dense(spec, documents=False)
            given = _given(inputs, plain)
            yield Contender(NAMES[name], function_of(plain), plain, given, None, _sdpa(name, plain, given))


def measured(
    contender: Contender, gauge: Gauge, repeats: int, work: Mapping[str, Work], *, forward_only: bool
) -> Rival:
    """Prepare, check and time a rival. Whatever stops it is its ``why``; what was timed before stays."""
    times: dict[str, Timed] = {}
    why = None
    try:
        run = contender.prepare()
        _check(contender, run)
        with torch.no_grad():
            times["forward"] = gauge.time(run, repeats)
        if not forward_only:
            cotangent = cotangent_for(contender.inputs, contender.inputs.value.shape[-1])
            times["training"] = gauge.time(lambda: _step(contender.inputs, run, cotangent), repeats)
    except Exception as error:
        # A rival is code of others: that it does not run, and why, is what there is to say of it.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
    return Rival(contender.name, contender.function, times, {phase: work[phase] for phase in times}, why)


def cotangent_for(inputs: Inputs, value_width: int) -> Tensor:
    """A random gradient of the output, the same for a shape."""
    query = inputs.query
    generator = torch.Generator(query.device).manual_seed(1)
    shape = (*query.shape[:3], value_width)
    return torch.randn(shape, device=query.device, generator=generator).to(query.dtype)


def takes_choice(spec: CheckedSpec, names: Sequence[str]) -> bool:
    """Whether one of the rivals can be given the choice of units that a call made: FlexAttention, one of blocks."""
    return "flex" in names and spec.selection is not None and spec.selection.block > 1 and not spec.soft


def function_of(spec: CheckedSpec) -> str:
    """What a spec without gates, choice and logits computes, in words."""
    ways = "dense causal" if spec.causal else "dense, both ways"
    return f"{ways} in documents" if spec.documents else ways


def dense(spec: CheckedSpec, *, documents: bool) -> CheckedSpec:
    """Attention to every key that ``spec`` lets a query see, with nothing else of it but its scale."""
    return dataclasses.replace(
        spec,
        documents=spec.documents and documents,
        logit=None,
        sink=None,
        gates=(),
        indexer=None,
        selection=None,
        forced=Forced(0, 0, None),
        train=None,
        emas=(),
    )


def ungated(spec: CheckedSpec) -> CheckedSpec:
    """The attention of ``spec`` without its gates, and without training its indexer."""
    return dataclasses.replace(spec, gates=(), train=None)


def _flex(spec: CheckedSpec, inputs: Inputs, selection: Selection | None) -> Contender:
    if selection is not None and takes_choice(spec, ["flex"]) and math.prod(selection.shape) <= _LARGEST_CHOICE:
        same, chosen = ungated(spec), selection
    elif spec.selection is None:
        same, chosen = ungated(spec), None
    else:
        same, chosen = dense(spec, documents=True), None
    own = chosen is not None or spec.selection is None
    plain = spec.selection is None and spec.forced.span is None and spec.logit is None and spec.sink is None
    given = _given(inputs, same)
    function = SAME if own and not (plain and not spec.documents) else function_of(same)
    return Contender(NAMES["flex"], function, same, given, chosen, lambda: flex(same, given, chosen))


def _sdpa(name: str, spec: CheckedSpec, inputs: Inputs) -> Callable[[], Attend]:
    group = inputs.query.shape[1] // inputs.key.shape[1]
    dims = {"head_dim": inputs.query.shape[-1], "heads": inputs.query.shape[1], "kv_heads": inputs.key.shape[1]}
    scale = scale_of(spec, dims | {"group": group})

    def run() -> Tensor:
        with sdpa_kernel(_BACKENDS[name]):
            output: Tensor = scaled_dot_product_attention(
                inputs.query, inputs.key, inputs.value, is_causal=spec.causal, scale=scale, enable_gqa=group > 1
            )
        return output

    return lambda: run


def _given(inputs: Inputs, spec: CheckedSpec) -> Inputs:
    """What a call of ``spec`` takes of ``inputs``; the same tensors."""
    chooses = spec.selection is not None
    extras = spec.extras(inputs.query.shape[1])
    return dataclasses.replace(
        inputs,
        gates=None,
        index=inputs.index if chooses else None,
        ema=inputs.ema if chooses else None,
        documents=inputs.documents if spec.documents else None,
        extras={name: x for name, x in (inputs.extras or {}).items() if name in extras} or None,
    )


def _check(contender: Contender, run: Attend) -> None:
    spec, inputs = contender.spec, contender.inputs
    found = places(spec, inputs.query.shape[2], _PLACES)
    with torch.no_grad():
        output = run()
        kept = [{"output": output[:, :, place].clone()} for place in found]
        del output
        for part, place in zip(kept, found, strict=True):
            check_place(spec, inputs, part, contender.selection, place)


def _step(inputs: Inputs, run: Attend, cotangent: Tensor) -> None:
    torch.autograd.backward([run()], [cotangent])
    inputs.zero_grad()
