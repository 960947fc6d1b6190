"""Encoder and pretraining step on one accelerator: ours under JAX, transformers under PyTorch.

    python benchmarks/accelerator.py [--sizes 6x384 12x768] [--batch 64] [--length 128] [--rounds 7]

bfloat16: a forward pass with weights of it, a step of MLM + SBO with weights of float32 and
products of bfloat16, both without dropout, on the same number of tokens and of targets.  Each side
has a process of its own: the package's layers, losses and update of
`recipes/spanbert_mini_en_uncased` as one XLA program of several steps a call; `BertModel` with SDPA
and the heads below, under `torch.compile` and autocast, with fused AdamW.  Arithmetic is also shown
as a part of what large matrix products reach in the same framework.  Where neither finds an
accelerator both run on the CPU, which shows that the script works and nothing else.
"""

import argparse
import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _support import Goal, report_goals

VOCABULARY, TARGETS, MOST_PIECES = 30_522, 0.15, 20
STEPS_A_CALL = 8
RATE = 1e-4
GEMM_SIZE = 8192
FORWARD, STEP = "forward", "step"
GOALS = {FORWARD: 1.0, STEP: 1.2}


def sizes_of(name: str) -> dict[str, int]:
    """Arguments of `SpanBertBackbone`: `12x768` is BERT's base size."""
    layers, hidden = map(int, name.split("x"))
    return {
        "vocabulary_size": VOCABULARY,
        "num_layers": layers,
        "num_heads": max(hidden // 64, 1),
        "hidden_dim": hidden,
        "intermediate_dim": 4 * hidden,
        "max_sequence_length": 512,
    }


def gflop(sizes: dict[str, int], batch: int, length: int) -> float:
    """Arithmetic of the layers of a forward pass."""
    hidden, tokens = sizes["hidden_dim"], batch * length
    return sizes["num_layers"] * (24 * tokens * hidden**2 + 4 * tokens * length * hidden) / 1e9


def median_seconds(run: Callable[[], object], rounds: int) -> float:
    """Seconds of a run, which ends with the accelerator idle; the first two do not count."""
    seconds = []
    for _ in range(rounds + 2):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[2:]))


def ours(arguments: Namespace) -> dict[str, Any]:
    """Milliseconds of both, and what the accelerator reaches, under JAX."""
    sys.path.insert(
        0, str(Path(__file__).resolve().parent.parent / "recipes" / "spanbert_mini_en_uncased")
    )
    import _jax_training as recipe
    import jax
    import jax.numpy as jnp

    from spanbert_tf.backbone import SpanBertBackbone
    from spanbert_tf.layers.masking.span_masking import SpanMasking

    shape = (arguments.batch, arguments.length)
    generator = np.random.default_rng(0)
    figures: dict[str, Any] = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    size = arguments.gemm
    square = jax.random.normal(jax.random.key(0), (size, size), "bfloat16")
    product = jax.jit(jnp.matmul)
    seconds = median_seconds(lambda: product(square, square).block_until_ready(), arguments.rounds)
    figures["gflops"] = 2 * size**3 / 1e9 / seconds
    for name in arguments.sizes:
        sizes = sizes_of(name)
        backbone = SpanBertBackbone(**sizes, dtype="bfloat16")
        ids = generator.integers(1000, VOCABULARY, shape, np.int32)
        features = {
            "token_ids": jnp.asarray(ids),
            "segment_ids": jnp.zeros(shape, "int32"),
            "padding_mask": jnp.ones(shape, "int32"),
        }

        @jax.jit
        def forward(
            values: Any, fixed: Any, features: Any, backbone: Any = backbone
        ) -> Any:  # the backbone is not traced: a default holds it
            outputs, _ = backbone.stateless_call(values, fixed, features, training=False)
            return outputs["sequence_output"]

        values, fixed = (
            [variable.value for variable in variables]
            for variables in (backbone.trainable_variables, backbone.non_trainable_variables)
        )
        call = lambda: forward(values, fixed, features).block_until_ready()  # noqa: B023, E731
        figures[f"{name} {FORWARD}"] = median_seconds(call, arguments.rounds)

        network = recipe.Network(sizes, MOST_PIECES, 0.0)
        masking = SpanMasking(
            vocabulary_size=VOCABULARY, mask_token_id=103, special_token_ids=(0, 100, 101, 102, 103)
        )
        numbers = jnp.tile(jnp.arange(shape[0]), (STEPS_A_CALL, 1))
        rows = recipe.Rows(jnp.asarray(ids, "uint16"), jnp.full(shape[0], shape[1], "uint16"))
        seeds = jnp.asarray(generator.integers(0, 2**31, (STEPS_A_CALL, 2)), "int32")
        word_starts = jnp.ones(VOCABULARY, "int32")
        masked = recipe.masking_call(masking, word_starts)(rows, numbers, seeds)
        state = [recipe.Training.begin(network.values({}, 0))]
        rates = jnp.full((STEPS_A_CALL, 2), RATE)
        step = recipe.pretraining_call(network)

        def steps(step: Any = step, state: Any = state, masked: Any = masked) -> None:
            state[0], losses = step(state[0], masked, rates, 1.0)  # noqa: B023
            losses.block_until_ready()

        figures[f"{name} {STEP}"] = median_seconds(steps, arguments.rounds) / STEPS_A_CALL
    return figures


def theirs(arguments: Namespace) -> dict[str, Any]:
    """The same under PyTorch."""
    import torch
    import transformers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    torch.set_float32_matmul_precision("high")
    batch, length = arguments.batch, arguments.length
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    size = arguments.gemm
    square = torch.randn(size, size, device=device, dtype=torch.bfloat16)

    def timed(run: Callable[[], object]) -> float:
        return median_seconds(lambda: (run(), wait()), arguments.rounds)

    figures["gflops"] = 2 * size**3 / 1e9 / timed(lambda: square @ square)
    for name in arguments.sizes:
        sizes = sizes_of(name)
        config = transformers.BertConfig(
            vocab_size=VOCABULARY,
            num_hidden_layers=sizes["num_layers"],
            num_attention_heads=sizes["num_heads"],
            hidden_size=sizes["hidden_dim"],
            intermediate_size=sizes["intermediate_dim"],
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="sdpa",
        )
        ids = torch.randint(1000, VOCABULARY, (batch, length), device=device)
        mask = torch.ones_like(ids)
        encoder = transformers.BertModel(config, add_pooling_layer=False).eval()
        forward = torch.compile(encoder.to(device, torch.bfloat16))
        with torch.inference_mode():
            figures[f"{name} {FORWARD}"] = timed(lambda: forward(ids, attention_mask=mask))  # noqa: B023

        model = torch_pretrainer(config).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), RATE, fused=True)
        targets = int(TARGETS * length)
        places = torch.stack([torch.randperm(length)[:targets] for _ in range(batch)]).to(device)
        labels = ids.gather(1, places)
        loss_of = torch.compile(model)

        def step(optimizer: Any = optimizer, model: Any = model, loss_of: Any = loss_of) -> None:
            with torch.autocast(device, torch.bfloat16):
                loss = loss_of(ids, mask, places, labels)  # noqa: B023
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        figures[f"{name} {STEP}"] = timed(step)
    return figures


def torch_pretrainer(config: Any) -> Any:
    """An encoder with both objectives, as Joshi et al. 2020 describe them: its call is the loss."""
    import torch
    import transformers
    from torch import nn

    hidden, places_hidden = config.hidden_size, 200

    class Pretrainer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = transformers.BertModel(config, add_pooling_layer=False)
            self.mlm = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
            self.places = nn.Embedding(MOST_PIECES, places_hidden)
            self.sbo = nn.Sequential(
                nn.Linear(2 * hidden + places_hidden, hidden),
                nn.GELU(),
                nn.LayerNorm(hidden),
                nn.Linear(hidden, hidden),
                nn.GELU(),
                nn.LayerNorm(hidden),
            )
            self.biases = nn.ParameterList([torch.zeros(config.vocab_size) for _ in range(2)])

        def forward(self, ids: Any, mask: Any, places: Any, labels: Any) -> Any:
            states = self.encoder(ids, attention_mask=mask).last_hidden_state

            def at(places: Any) -> Any:
                return states.gather(1, places[..., None].expand(-1, -1, hidden))

            last = ids.shape[1] - 1
            around = [at((places - 1).clamp(min=0)), at((places + 1).clamp(max=last))]
            offsets = torch.arange(places.shape[1], device=ids.device) % MOST_PIECES
            offsets = self.places(offsets).expand(len(ids), -1, -1)
            heads = [self.mlm(at(places)), self.sbo(torch.cat([*around, offsets], -1))]
            table = self.encoder.embeddings.word_embeddings.weight
            return sum(
                nn.functional.cross_entropy(
                    nn.functional.linear(head, table, bias).flatten(0, 1).float(), labels.flatten()
                )
                for head, bias in zip(heads, self.biases, strict=True)
            )

    return Pretrainer()


SIDES = {"ours": ours, "theirs": theirs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["6x384", "12x768"], metavar="LAYERSxHIDDEN")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gemm", type=int, default=GEMM_SIZE, help="rows of the large products")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments)))
        return 0

    found = {}
    for side in SIDES:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        outcome = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[side] = json.loads(outcome.stdout.splitlines()[-1])
        facts = {k: v for k, v in found[side].items() if k in ("device", "jax", "torch")}
        print(side, ", ".join(map(str, facts.values())), flush=True)
    goals = []
    print(f"{'':<18}{'ours, ms':>10}{'theirs, ms':>12}{'ours is faster':>16}{'of products':>18}")
    for name in arguments.sizes:
        for what, times in ((FORWARD, 1), (STEP, 3)):  # a backward pass is twice a forward one
            both = [found[side][f"{name} {what}"] for side in SIDES]
            work = times * gflop(sizes_of(name), arguments.batch, arguments.length)
            parts = [
                work / seconds / found[side]["gflops"]
                for side, seconds in zip(SIDES, both, strict=True)
            ]
            ratio = both[1] / both[0]
            print(
                f"{name} {what:<11}{both[0] * 1e3:>10.2f}{both[1] * 1e3:>12.2f}"
                f"{f'{ratio:.2f}x':>16}{f'{parts[0]:.0%} / {parts[1]:.0%}':>18}"
            )
            goals.append(Goal(f"{name}, {what}, against transformers", ratio, GOALS[what]))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
