"""Small specs that together reach every branch of the templates and passes; a mutant is tried on those it changes."""

from __future__ import annotations

from dataclasses import dataclass

INDEXER = """indexer { heads 2  dim 16  keys shared
    score[t, s] = sum(j) sigmoid(w[t, j]) * sigmoid(q[t, j] . k[s] / sqrt(dim) + b[j]) }"""


@dataclass(frozen=True)
class Subject:
    """A spec with the heads it is compiled for."""

    name: str
    text: str
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    value_dim: int = 16


def subject(name: str, body: str, **sizes: int) -> Subject:
    return Subject(name, f"attention {name} {{\n  {body}\n}}\n", **sizes)


# In the order in which they are tried: those that have most of the code, and are quick, come first.
SUBJECTS = (
    subject("window", "causal  always first 2, last 5  gate key = silu(linear(x)) per shared"),
    subject(
        "dense",
        """causal
  gate query  = 2 * sigmoid(linear(x)) / (1 + linear(x)^2)  per head
  gate output = clamp(linear(x), -1, 1)   per shared
  gate output = 1 + abs(tanh(given(late))) per element""",
        head_dim=24,
        value_dim=40,
    ),
    subject("sinks", "causal  documents  always first 3  sink  logit[t, s] = 0.3 * (q[t] . k[s])"),
    subject("around", "full  documents  always first 2, last 4  gate value = relu(linear(x) + 1) per element"),
    subject("both_ways", "full  always first 2, last 4", heads=3, kv_heads=1),
    # Windows and documents with whole blocks in them that every query of a tile sees.
    subject("band", "causal  always last 23"),
    # Features that descriptors cannot tell are loaded at addresses.
    subject("bridge", "causal  always first 2, last 24", head_dim=20, value_dim=20),
    subject("broad", "full  documents  always last 31"),
    subject("apart", "full  documents"),
    subject(
        "roots",
        """causal
  gate value = sqrt(1 + linear(x)^2) - abs(linear(x))^1.5 / (1 + exp(linear(x))) + softplus(linear(x)) + linear(x)^1
      + linear(x)^0 per element""",
    ),
    subject(
        "constants",
        """causal
  gate value = linear(x) * (sigmoid(0.3) + sigmoid(-0.3) + tanh(0.4) + softplus(0.3) + exp(0.2) + log(1.5)
      + silu(0.7) + relu(0.4) + abs(-0.3) + clamp(0.5, 0.1, 0.3) + min(0.2, 0.3) + max(0.2, 0.4)
      + where(0.2 < 0.2, 0.1, 0.2) + where(0.2 <= 0.2, 0.4, 0.8) + where(0.2 > 0.2, 0.1, 0.3)
      + where(0.2 >= 0.2, 0.5, 0.9) + where(0.2 == 0.2, 0.5, 0.6)) per element""",
    ),
    subject("alibi", "causal  logit[t, s] = q[t] . k[s] / sqrt(head_dim) - slope[h] * distance", heads=6, kv_heads=2),
    # A query that sees itself alone has a logit of 0, and so an lse of just 0.
    subject("far_off", "causal  logit[t, s] = q[t] . k[s] * distance / 64", heads=1, kv_heads=1),
    subject(
        "biased",
        """full
  logit[t, s] = 5 * tanh(q[t] . k[s] / sqrt(head_dim) / 5) + bias[h, min(abs(distance), 7)] - 0.1 * abs(distance)
  sink""",
    ),
    subject(
        "below",
        """causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] / dim - 1 }
  budget[t] = clamp(12 + 16 * max(score[t]), 0, 9)  select top budget tokens per queries(2)  always first 1""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "open_blocks",
        """full  documents
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] / dim }
  select top 2 blocks(4) by max""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "summed_blocks",
        """full
  indexer { heads 1  dim 4  keys shared  score[t, s] = sum(j) q[t, j] . k[s] }
  select top 1 blocks(8) by sum  always first 1""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "seldom",
        """causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] / dim }
  budget[t] = clamp(60 * mean(score[t]), 0, 6)  select top budget tokens""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "many",
        """causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] / dim }
  select top 30 tokens""",
        heads=1,
        kv_heads=1,
        head_dim=24,
        value_dim=40,
    ),
    subject(
        "nearly_all",
        """causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] / dim }
  select top 32 tokens  always last 2""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "adaptive",
        f"""causal
  gate value  = tanh(linear(x))           per head
  gate output = sigmoid(linear(x) + 0.5)  per element
  {INDEXER}
  budget[t] = clamp(6 * ema(var(score[t])) / var(score[t]), 2, 11)
  select top budget tokens  always first 1, last 3  train indexer with kl""",
    ),
    subject(
        "zeros",
        """causal
  indexer { heads 1  dim 4  keys shared  score[t, s] = max(j) relu(q[t, j] . k[s]) * (q[t, j] . k[s]) }
  budget[t] = clamp(4 * max(score[t]) / max(score[t]), 0, 6)  select top budget tokens""",
        heads=2,
        kv_heads=1,
    ),
    subject(
        "packed",
        """causal  documents
  indexer { heads 3  dim 16  keys shared  score[t, s] = max(j) (w[t, j] * relu(q[t, j] . k[s]) + b[j]) }
  select top 5 tokens  always first 1, last 2  train indexer with kl""",
        heads=3,
        kv_heads=1,
    ),
    subject(
        "soft",
        f"""causal  {INDEXER}
  select top 7 tokens  always last 2  sink  train indexer with kl
  logit[t, s] = q[t] . k[s] / sqrt(head_dim) + sqrt(abs(bias[h, min(distance, 9)])) + log(score[t, s])""",
    ),
    subject(
        "blocks",
        f"""causal
  {INDEXER.replace("keys shared", "keys per kv_head")}
  select top 1 blocks(16) by max per kv_head  always diagonal  sink  train indexer with kl""",
        heads=6,
    ),
    subject(
        "wide_blocks",
        f"""causal  documents  {INDEXER}
  select top 1 blocks(32) by mean  always first 1  train indexer with kl""",
        heads=2,
        kv_heads=1,
    ),
    subject(
        "pooled",
        f"""causal
  {INDEXER.replace("keys shared", "keys shared  pool mean")}
  budget[t] = min(0.6 * count(score[t]) + 0.01 * max(score[t]), 6)
  select top budget blocks(4)  always last 1  train indexer with kl""",
        heads=2,
        kv_heads=1,
    ),
    subject(
        "runs",
        f"""causal  {INDEXER.replace("b[j]", "1")}
  select top 2 blocks(4) by sum per queries(8)  always last 2  train indexer with kl""",
        heads=2,
        kv_heads=1,
    ),
    subject(
        "own_keys",
        """full
  indexer { keys attention  pool max  score[t, s] = sum(j) q[t, j] . k[s] }
  select top 2 blocks(4) per kv_head""",
        heads=4,
        kv_heads=2,
    ),
    subject(
        "mean_keys",
        """full
  indexer { keys attention  pool mean  score[t, s] = sum(j) sigmoid(q[t, j] . k[s] / sqrt(dim)) }
  select top 2 blocks(16) per kv_head""",
        heads=6,
        kv_heads=2,
        head_dim=24,
        value_dim=24,
    ),
    subject(
        "levels",
        f"""full  {INDEXER.replace("sum(j)", "mean(j)")}
  budget[t] = min(0.2 * above(score[t], 0.5) + entropy(score[t]) + 6 * abs(max(score[t]) - min(score[t]))
      + 0.5 * mean(score[t]) + 0.02 * count(score[t]), 12)
  select top budget tokens  always last 2  train indexer with kl(temperature = 2)""",
        heads=2,
        kv_heads=1,
    ),
    subject(
        "saturated",
        """causal
  indexer { heads 2  dim 16  keys shared  score[t, s] = tanh(mean(j) w[t, j] / (1 + exp(-(q[t, j] . k[s])))) }
  select top 6 tokens  always first 1  train indexer with kl""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "stacks",
        """causal
  indexer { heads 20  dim 16  keys shared
    score[t, s] = max(j) (w[t, j] * (q[t, j] . k[s])) + 0.1 * sum(j) relu(q[t, j] . k[s] + b[j]) }
  select top 6 tokens per queries(2)  train indexer with kl""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "wide",
        """full documents
  indexer { heads 9  dim 24  keys shared  score[t, s] = max(j) w[t, j] * silu(q[t, j] . k[s] / dim) }
  select top 6 tokens  train indexer with kl(temperature = 0.5)
  logit[t, s] = q[t] . k[s] / sqrt(head_dim) + 0.5 * tanh(score[t, s])""",
        heads=3,
        kv_heads=1,
        head_dim=24,
        value_dim=16,
    ),
    subject(
        "mass",
        """causal
  indexer { heads 1  dim 16  keys shared  score[t, s] = sum(j) q[t, j] . k[s] / dim }
  budget[t] = clamp(6 * top_p(score[t], 0.6) / ema(top_p(score[t], 0.6)), 1, 9)  select top budget tokens""",
        heads=1,
        kv_heads=1,
    ),
    subject(
        "clipped",
        """causal
  indexer { heads 2  dim 16  keys shared
    score[t, s] = sum(j) clamp(q[t, j] . k[s], -1, 1) * min(w[t, j], 1) + sum(j) min(max(q[t, j] . k[s], 0), 2) }
  budget[t] = clamp(6 * max(score[t]) - 27, 0, 6)  select top budget tokens  train indexer with kl""",
        heads=1,
        kv_heads=1,
    ),
)
