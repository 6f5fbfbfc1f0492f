"""Compile a spec, verify its generated kernels against the float64 reference, and train a small language model with it.

The text is the source code of Python's own standard library, so nothing is downloaded. ``make demo`` runs this file;
``python examples/run_demo.py --help`` lists its options. The exit status is 1 if the kernels do not verify or the
model does not learn.
"""

from __future__ import annotations

import argparse
import json
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gsa_dsl
from gsa_dsl.cli.cost_table import Sizes, print_cost
from gsa_dsl.cli.verify import print_report, quiet_interpreter
from gsa_dsl.testing.verify import verify

SPEC = Path(__file__).with_name("gsa.gsa")
# Small budgets, so that with a context of 256 bytes most keys are really left out.
BUDGET = {"k_base": 32, "k_min": 8, "k_max": 64}
SHAPE = {"heads": 4, "kv_heads": 2, "head_dim": 16}
CONTEXT = 256
BATCH = 4
D_MODEL = 64


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a norm and beside a residual."""

    def __init__(self, attention: gsa_dsl.CompiledAttention) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(D_MODEL)
        self.attention = attention.module(D_MODEL)
        self.feed_norm = nn.RMSNorm(D_MODEL)
        self.feed = nn.Sequential(nn.Linear(D_MODEL, 4 * D_MODEL), nn.GELU(), nn.Linear(4 * D_MODEL, D_MODEL))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed(self.feed_norm(x))


class ByteModel(nn.Module):
    """A language model over bytes: [B, L] integers in 0..255 to logits [B, L, 256]."""

    def __init__(self, attention: gsa_dsl.CompiledAttention, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, D_MODEL)
        self.blocks = nn.Sequential(*(Block(attention) for _ in range(layers)))
        self.norm = nn.RMSNorm(D_MODEL)
        self.head = nn.Linear(D_MODEL, 256, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embedding(text))))

    def warmup(self, mode: bool) -> None:
        """Attend densely while the indexers learn, or sparsely."""
        for module in self.modules():
            if isinstance(module, gsa_dsl.GSAttention):
                module.warmup(mode)


def read_corpus(limit: int = 4_000_000) -> Tensor:
    """About ``limit`` bytes of the standard library's sources, in the order of their names."""
    text = bytearray()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text += path.read_bytes()
        if len(text) >= limit:
            break
    return torch.frombuffer(text, dtype=torch.uint8)


def batches(corpus: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Random stretches of the corpus, [size, CONTEXT + 1] each, without an end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(corpus) - CONTEXT - 1, (size, 1), generator=generator)
        yield corpus[starts + torch.arange(CONTEXT + 1)].long()


def train(
    model: ByteModel, corpus: Tensor, *, steps: int, seed: int, device: str, report: Callable[[int, float, float], None]
) -> list[float]:
    """Train for ``steps`` steps, the first tenth of them dense; returns the language model's loss of every step.

    ``report`` is called with the step (from 1), the loss and the indexers' loss.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for step, batch in zip(range(steps), batches(corpus, BATCH, seed), strict=False):
        model.warmup(step < steps // 10)
        text = batch.to(device)
        loss = F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        index_loss = gsa_dsl.indexer_loss(model)
        optimizer.zero_grad()
        (loss + index_loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        report(step + 1, losses[-1], index_loss.item())
    return losses


@contextmanager
def progress(steps: int, quiet: bool) -> Iterator[Callable[[int, float, float], None]]:
    """How training is shown: a bar on a terminal, twenty lines elsewhere, nothing if ``quiet``."""
    if quiet:
        yield lambda step, loss, index_loss: None
    elif not sys.stdout.isatty():
        every = max(1, steps // 20)

        def line(step: int, loss: float, index_loss: float) -> None:
            if step == 1 or step == steps or step % every == 0:
                print(f"step {step:4d}/{steps}  loss {loss:.3f}  indexer loss {index_loss:.4f}", flush=True)

        yield line
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        tail = (MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[losses]}"))
        with Progress(TextColumn("training"), BarColumn(), *tail) as bar:
            task = bar.add_task("train", total=steps, losses="")

            def update(step: int, loss: float, index_loss: float) -> None:
                bar.update(task, completed=step, losses=f"loss {loss:.3f}  indexer loss {index_loss:.4f}")

            yield update


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the data (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document with the results, nothing else")
    arguments = parser.parse_args(argv)
    if arguments.steps < 20:
        parser.error("--steps must be at least 20, or there is nothing to see")
    started = time.perf_counter()

    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    kernels = gsa_dsl.compile(SPEC, **SHAPE, **BUDGET, backend="triton" if gpu else "interpret")
    if not arguments.json:
        print(f"compiled {SPEC.name} to {kernels.path}\n")
        print_cost(kernels.spec, Sizes(CONTEXT, **SHAPE))
        print()
    with quiet_interpreter():
        report = verify(kernels, shapes=((2, 37), (1, 100)), patterns=("normal", "ties"))
    if not arguments.json:
        print_report(report, BUDGET)
        print()

    torch.manual_seed(arguments.seed)
    attention = kernels if gpu else gsa_dsl.compile(SPEC, **SHAPE, **BUDGET, backend="torch")
    model = ByteModel(attention).to(device)
    with progress(arguments.steps, arguments.json) as shown:
        losses = train(model, read_corpus(), steps=arguments.steps, seed=arguments.seed, device=device, report=shown)
    first, last = losses[0], mean(losses[-10:])
    learned = last < 0.9 * first

    if arguments.json:
        result = {
            "path": str(kernels.path),
            "backend": kernels.backend,
            "verified": report.ok,
            "steps": arguments.steps,
            "first_loss": first,
            "last_loss": last,
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(result, indent=2))
    else:
        print(f"\nkernels   {kernels.path} ({kernels.backend})")
        print(f"loss      {first:.3f} at first, {last:.3f} at last" + ("" if learned else ": it did not fall"))
        print("kernels   verified" if report.ok else "kernels   NOT VERIFIED: see the table above")
    return 0 if report.ok and learned else 1


if __name__ == "__main__":
    sys.exit(main())
