"""What FlexAttention is given says what the spec does: its results are the reference's, for every example and more."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from gsa_dsl.bench.check import WrongResult, check_place
from gsa_dsl.bench.choice import pairs_attended
from gsa_dsl.bench.flex import block_mask, mask_mod
from gsa_dsl.bench.rivals import SAME, Contender, contenders
from gsa_dsl.reference.dense import reference
from gsa_dsl.reference.units import at_tokens
from gsa_dsl.reference.visible import visible_keys
from tests.bench.specs import EXAMPLES, SHARED, compiled, drawn, selection_of

OTHERS = {
    "both ways": "attention both { full  always last 6 }",
    "window in documents": "attention inside { causal  documents  always first 2, last 6 }",
    "scale": "attention scaled { causal  scale 2 * head_dim^-0.5 }",
    "sink": "attention sunk { causal  sink  always last 9 }",
    "shared": SHARED,
    "every operation": """attention every { full
      logit[t, s] = where(distance > 3, softplus(q[t] . k[s] / 4), clamp(silu(q[t] . k[s] / head_dim), -1, 2))
        - slope[h] * min(abs(distance), 7) * sqrt(2) + max(tanh(distance / 10), sigmoid(-distance)) + relu(distance) / 9
    }""",
}
DENSE = {
    **dict.fromkeys(("dense", "gated", "dsa", "gsa", "gsa_small", "gsa_soft", "sparse_only", "top_p"), "dense causal"),
    "packed": "dense causal in documents",
    "scale": "dense causal",
}


def contender(name: str) -> Contender:
    attention = compiled(OTHERS.get(name, name))
    x = drawn(attention)
    (found,) = contenders(["flex"], attention.spec, x, selection_of(attention, x))
    return found


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", [*EXAMPLES, *OTHERS])
def test_flex_attention_computes_what_it_is_said_to(name: str) -> None:
    found = contender(name)
    assert found.function == DENSE.get(name, SAME)
    length = found.inputs.query.shape[2]
    with torch.no_grad():
        output = found.prepare()()
    for start in range(0, length, 16):
        place = slice(start, min(start + 16, length))
        check_place(found.spec, found.inputs, {"output": output[:, :, place]}, found.selection, place)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_another_mask_would_be_seen() -> None:
    window, dense = contender("sliding_sink"), contender("dense")
    place = slice(150, 152)
    with torch.no_grad():
        output = dense.prepare()()
    with pytest.raises(WrongResult, match="output of query 150 is off by"):
        check_place(window.spec, window.inputs, {"output": output[:, :, place]}, None, place)


@pytest.mark.parametrize("name", ["sliding_sink", "packed", "moba", "msa", "nsa_select", *OTHERS])
def test_blocks_hold_the_mask(name: str) -> None:
    """The blocks that are said to be full are, those that are left out are empty, and the rest is in between."""
    found = contender(name)
    length, heads = 200, 4
    mod = mask_mod(found.spec, found.inputs, found.selection)
    mask = create_mask(mod, 1, heads, length, length, device="cpu")
    x, spec = found.inputs, found.spec
    exact = reference(spec, x.query, x.key, x.value, **x.keywords(), selection=_mask(found))
    tokens = visible_keys(spec, 1, length, torch.device("cpu"), x.documents)
    block = spec.selection.block if spec.selection is not None else 1
    chosen = exact.selected if exact.selected.dim() == 4 else exact.selected.unsqueeze(1)
    expected = at_tokens(chosen, block, length) & tokens.unsqueeze(1)
    assert torch.equal(mask, expected.repeat_interleave(heads // expected.shape[1], 1))
    blocks = block_mask(spec, x, found.selection)
    padded = torch.zeros((1, heads, 256, 256), dtype=torch.bool)
    padded[..., :length, :length] = mask
    parted = padded.view(1, heads, 2, 128, 2, 128)
    assert torch.equal(blocks.to_dense().bool().expand(1, heads, 2, 2), parted.any(-1).any(3))
    assert blocks.full_kv_num_blocks is not None
    full = parted.all(-1).all(3).sum(-1)
    assert torch.equal(blocks.full_kv_num_blocks.expand(1, heads, 2).long(), full)


def _mask(found: Contender) -> torch.Tensor | None:
    return None if found.selection is None else found.selection.mask()


@pytest.mark.parametrize("name", EXAMPLES)
def test_pairs_are_those_of_the_mask(name: str) -> None:
    attention = compiled(name)
    x = drawn(attention)
    selection = selection_of(attention, x)
    exact = reference(attention.spec, x.query, x.key, x.value, **x.keywords())
    tokens = visible_keys(attention.spec, 1, 200, torch.device("cpu"), x.documents)
    block = attention.spec.selection.block if attention.spec.selection is not None else 1
    selected = exact.selected.view(-1, *exact.selected.shape[-2:])
    expected = (at_tokens(selected, block, 200) & tokens).sum() / len(selected)
    assert pairs_attended(attention.spec, x, selection) == pytest.approx(expected.item(), abs=0.02 * expected.item())


def test_a_logit_that_reads_the_score_is_no_change_of_one() -> None:
    from gsa_dsl.bench.flex import flex

    attention = compiled("gsa_soft")
    with pytest.raises(ValueError, match="read the indexer's score"):
        flex(attention.spec, drawn(attention), None)
