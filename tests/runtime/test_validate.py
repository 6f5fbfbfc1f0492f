"""Operands that do not fit are refused before anything runs, by a message with the name, what came, what is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gsa_dsl.compiler import CompiledAttention, compile
from gsa_dsl.runtime.validate import OperandError, check_call, check_documents

B, H, HKV, L, D, J, DI = 2, 4, 2, 8, 16, 3, 32
META: dict[str, Any] = {
    "name": "sparse",
    "heads": H,
    "kv_heads": HKV,
    "head_dim": D,
    "value_dim": D,
    "gates": [
        {"name": "value", "target": "value", "granularity": "head"},
        {"name": "output", "target": "output", "granularity": "element"},
    ],
    "index": {"heads": J, "dim": DI, "tensors": ["q", "k", "w", "b"]},
    "ema_init": [1.0, 2.0],
}
DENSE: dict[str, Any] = {**META, "name": "dense", "gates": [], "index": None, "ema_init": []}
PACKED: dict[str, Any] = {**DENSE, "name": "packed", "documents": True}
Call = dict[str, Any]


def fitting(meta: dict[str, Any] = META, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Call:
    def make(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    call: Call = {
        "backend": "torch",
        "query": make(B, H, L, D),
        "key": make(B, HKV, L, D),
        "value": make(B, HKV, L, D),
        "gates": {},
        "index": {},
        "ema": None,
        "phase": "sparse",
        "selection": None,
        "extras": {},
    }
    if meta is META:
        call["gates"] = {"value": make(B, HKV, L), "output": make(B, H, L, D)}
        call["index"] = {
            "q": make(B, J, L, DI),
            "k": make(B, L, DI),
            "w": make(B, J, L, dtype=torch.float32),
            "b": make(J, dtype=torch.float32),
        }
        call["ema"] = torch.zeros(2)
    return call


def check(meta: dict[str, Any], call: Call) -> None:
    check_call(meta, **call)


@pytest.mark.parametrize("backend", ["torch", "interpret"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("meta", [META, DENSE], ids=["indexed", "dense"])
def test_what_fits_passes(meta: dict[str, Any], dtype: torch.dtype, backend: str) -> None:
    call = fitting(meta, dtype) | {"backend": backend}
    check(meta, call)
    check(meta, call | {"ema": None})
    if meta is META:
        check(meta, call | {"phase": "warmup"})
        check(meta, call | {"selection": torch.zeros(B, L, L, dtype=torch.bool)})
        low = {name: x.to(dtype) for name, x in call["index"].items()}
        check(meta, call | {"index": low})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torch_takes_any_floating_dtype(dtype: torch.dtype) -> None:
    check(META, fitting(META, dtype))


def put(name: str, **changed: torch.Tensor | None) -> Callable[[Call], Call]:
    """A change of some entries of ``gates`` or ``index``; None takes one away."""

    def change(call: Call) -> Call:
        entries = {**call[name], **changed}
        return call | {name: {key: x for key, x in entries.items() if x is not None}}

    return change


def zeros(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


Change = dict[str, Any] | Callable[[Call], Call]
WRONG: list[tuple[str, dict[str, Any], Change, str]] = [
    ("no tensor", META, {"query": [1.0]}, "query is a list, expected a torch.Tensor"),
    ("rank", META, {"query": zeros(H, L, D)}, "query has shape [4, 8, 16], expected [batch, 4, length, 16]"),
    ("empty", META, {"query": zeros(B, H, 0, D)}, "query has shape [2, 4, 0, 16]: batch and length must be at least 1"),
    ("no batch", META, {"query": zeros(0, H, L, D)}, "query has shape [0, 4, 8, 16]: batch and length must be"),
    (
        "heads",
        META,
        {"query": zeros(B, 5, L, D)},
        "query has shape [2, 5, 8, 16], expected [2, 4, 8, 16]: [batch, heads, length, head_dim]",
    ),
    (
        "dtype",
        META,
        {"query": zeros(B, H, L, D, dtype=torch.int32)},
        "query has dtype torch.int32, expected a floating-point dtype",
    ),
    (
        "float64 in a kernel",
        META,
        {"query": zeros(B, H, L, D, dtype=torch.float64), "backend": "triton"},
        "query has dtype torch.float64, expected float16, bfloat16 or float32 (backend 'triton')",
    ),
    (
        "bfloat16 in the interpreter",
        META,
        {"query": zeros(B, H, L, D, dtype=torch.bfloat16), "backend": "interpret"},
        "query has dtype torch.bfloat16: Triton's interpreter multiplies its raw bits; use float32 or float16",
    ),
    (
        "interpreter elsewhere",
        META,
        {"query": zeros(B, H, L, D, device="meta"), "backend": "interpret"},
        "query is on meta, expected cpu: backend 'interpret' runs there",
    ),
    (
        "triton on the cpu",
        META,
        {"backend": "triton"},
        "query is on cpu, expected cuda; compile with backend='torch' or",
    ),
    (
        "float32 of heads too wide for it",
        {**META, "float32": False},
        {"backend": "triton"},
        "query has dtype torch.float32: 2 query heads a kv head of 16 features need more shared memory than a GPU has; "
        "use bfloat16 or float16, or compile with backend='torch'",
    ),
    ("key missing", META, {"key": None}, "key is a NoneType, expected a torch.Tensor"),
    (
        "key heads",
        META,
        {"key": zeros(B, H, L, D)},
        "key has shape [2, 4, 8, 16], expected [2, 2, 8, 16]: [batch, kv_heads, length, head_dim]",
    ),
    ("value length", META, {"value": zeros(B, HKV, 9, D)}, "value has shape [2, 2, 9, 16], expected [2, 2, 8, 16]"),
    (
        "key dtype",
        META,
        {"key": zeros(B, HKV, L, D, dtype=torch.float16)},
        "key has dtype torch.float16, expected torch.float32 as query",
    ),
    ("value device", META, {"value": zeros(B, HKV, L, D, device="meta")}, "value is on meta, expected cpu as query"),
    ("gate missing", META, put("gates", output=None), "gates has no 'output'; the spec asks for ['output', 'value']"),
    (
        "gate unknown",
        META,
        put("gates", outptu=zeros(1)),
        "gates has 'outptu', unused by the spec; it asks for ['output', 'value']",
    ),
    (
        "gate of a spec without",
        DENSE,
        {"gates": {"output": zeros(1)}},
        "gates has 'output', unused by the spec; it asks",
    ),
    ("gate no tensor", META, put("gates", value=3), "gates['value'] is a int, expected a torch.Tensor"),
    (
        "gate per head",
        META,
        put("gates", value=zeros(B, HKV, L, D)),
        "gates['value'] has shape [2, 2, 8, 16], expected [2, 2, 8]: [batch, kv_heads, length] (a gate per head)",
    ),
    (
        "gate per element",
        META,
        put("gates", output=zeros(B, HKV, L, D)),
        "gates['output'] has shape [2, 2, 8, 16], expected [2, 4, 8, 16]: "
        "[batch, heads, length, value_dim] (a gate per element)",
    ),
    (
        "gate dtype",
        META,
        put("gates", value=zeros(B, HKV, L, dtype=torch.float64)),
        "gates['value'] has dtype torch.float64, expected torch.float32 as query",
    ),
    ("index of a dense spec", DENSE, {"index": {"q": zeros(1)}}, "index has 'q', unused by the spec; it asks for none"),
    (
        "index missing",
        META,
        put("index", w=None, b=None),
        "index has no 'w', 'b'; the spec asks for ['b', 'k', 'q', 'w']",
    ),
    ("index unknown", META, put("index", bias=zeros(J)), "index has 'bias', unused by the spec; it asks for"),
    (
        "index q",
        META,
        put("index", q=zeros(B, J, L, D)),
        "index['q'] has shape [2, 3, 8, 16], expected [2, 3, 8, 32]: [batch, index heads, length, index dim]",
    ),
    (
        "index k",
        META,
        put("index", k=zeros(B, J, L, DI)),
        "index['k'] has shape [2, 3, 8, 32], expected [2, 8, 32]: [batch, length, index dim]",
    ),
    (
        "index w",
        META,
        put("index", w=zeros(B, L, J)),
        "index['w'] has shape [2, 8, 3], expected [2, 3, 8]: [batch, index heads, length]",
    ),
    ("index b", META, put("index", b=zeros(1, J)), "index['b'] has shape [1, 3], expected [3]: [index heads]"),
    (
        "index q dtype",
        META,
        put("index", q=zeros(B, J, L, DI, dtype=torch.float16)),
        "index['q'] has dtype torch.float16, expected torch.float32 as query",
    ),
    (
        "index w dtype",
        META,
        put("index", w=zeros(B, J, L, dtype=torch.float64)),
        "index['w'] has dtype torch.float64, expected torch.float32 as query or torch.float32",
    ),
    ("index device", META, put("index", b=zeros(J, device="meta")), "index['b'] is on meta, expected cpu as query"),
    ("phase", META, {"phase": "dense"}, "phase='dense': expected 'sparse' or 'warmup'"),
    (
        "warm-up without an indexer",
        DENSE,
        {"phase": "warmup"},
        "phase='warmup': dense has no indexer to warm up; use phase='sparse'",
    ),
    (
        "selection without an indexer",
        DENSE,
        {"selection": zeros(B, L, L, dtype=torch.bool)},
        "selection: dense has no indexer, so there is no choice to replace",
    ),
    (
        "selection dtype",
        META,
        {"selection": zeros(B, L, L)},
        "selection has dtype torch.float32, expected torch.bool [batch, length, length]",
    ),
    (
        "selection shape",
        META,
        {"selection": zeros(B, H, L, L, dtype=torch.bool)},
        "selection has shape [2, 4, 8, 8], expected [2, 8, 8]: [batch, length, length]",
    ),
    ("ema of a spec without", DENSE, {"ema": zeros(1)}, "ema: dense keeps no running mean; leave it out"),
    ("ema shape", META, {"ema": zeros(3)}, "ema has shape [3], expected [2]: one value per ema(...) of the spec"),
    ("ema no tensor", META, {"ema": [1.0, 2.0]}, "ema is a list, expected a torch.Tensor"),
    # What would otherwise be ignored, or fail deep inside:
    (
        "selection in the warm-up",
        META,
        {"phase": "warmup", "selection": zeros(B, L, L, dtype=torch.bool)},
        "selection: phase='warmup' attends to every key",
    ),
    ("selection no tensor", META, {"selection": [[True]]}, "selection is a list, expected a bool torch.Tensor"),
    (
        "selection device",
        META,
        {"selection": zeros(B, L, L, dtype=torch.bool, device="meta")},
        "selection is on meta, expected cpu as query",
    ),
]


@pytest.mark.parametrize(("meta", "change", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_does_not_fit_is_named(meta: dict[str, Any], change: Change, message: str) -> None:
    call = fitting(meta)
    call = change(call) if callable(change) else call | change
    with pytest.raises(OperandError, match="^" + re.escape(message)):
        check(meta, call)


def test_the_check_comes_before_anything_runs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile("attention a { causal }", heads=2, head_dim=8, backend="torch", cache_dir=tmp_path)
    assert isinstance(compiled, CompiledAttention)
    monkeypatch.setattr(compiled.kernels, "attention", lambda *_: pytest.fail("it ran"))
    x = torch.zeros(1, 2, 5, 8)
    with pytest.raises(OperandError, match=r"^value has shape \[1, 2, 5, 4\]"):
        compiled(x, x, x[..., :4])
    assert issubclass(OperandError, ValueError)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_ids_of_documents_are_integers_in_runs(dtype: torch.dtype) -> None:
    ids = torch.tensor([[5, 5, 0, 0, 0, 9, 1, 1], [2, 2, 2, 2, 2, 2, 2, 2]], dtype=dtype)
    check_documents(PACKED, ids, torch.zeros(B, H, L, D))
    check_documents(DENSE, None, torch.zeros(B, H, L, D))


@pytest.mark.parametrize(
    ("meta", "documents", "message"),
    [
        (PACKED, None, "documents: packed sees documents apart; pass their ids, [batch, length]"),
        (DENSE, torch.zeros(B, L, dtype=torch.long), "documents: dense does not say 'documents'"),
        (PACKED, [[0] * L] * B, "documents is a list, expected a torch.Tensor"),
        (PACKED, torch.zeros(B, L), "documents has dtype torch.float32, expected an integer dtype"),
        (PACKED, torch.zeros(B, L, dtype=torch.bool), "documents has dtype torch.bool"),
        (PACKED, torch.zeros(B, L + 1, dtype=torch.long), "documents has shape [2, 9], expected [2, 8]"),
        (PACKED, torch.zeros(L, dtype=torch.long), "documents has shape [8], expected [2, 8]"),
        (PACKED, torch.zeros(B, L, dtype=torch.long, device="meta"), "documents is on meta, expected cpu"),
        (PACKED, torch.tensor([[1, 1, 2, 2, 1, 3, 3, 3]] * B), "an id comes back after another one"),
    ],
)
def test_ids_that_do_not_fit_are_refused(meta: dict[str, Any], documents: Any, message: str) -> None:
    with pytest.raises(OperandError, match=re.escape(message)):
        check_documents(meta, documents, torch.zeros(B, H, L, D))


def test_a_call_asks_for_documents(tmp_path: Any) -> None:
    x = torch.zeros(1, 1, L, D)
    for clauses, given in (("causal documents", None), ("causal", torch.zeros(1, L, dtype=torch.long))):
        attention = compile(f"attention a {{ {clauses} }}", heads=1, head_dim=D, backend="torch", cache_dir=tmp_path)
        with pytest.raises(OperandError, match="documents"):
            attention(x, x, x, documents=given)
