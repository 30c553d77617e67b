"""Trains the tiny model from scratch and writes its weights and configuration.

    python train.py --out ../tiny --seed 1 --steps 12023

Weights are kept in float32 and rounded to bfloat16 for every forward pass, as they are stored.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from batches import BUCKETS, Batch, batches, make_batch, tokenizer
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.llama import Model, ModelArgs

PEAK, FLOOR, WARMUP, CLIP = 3e-3, 2e-5, 200, 1.0
Weights = dict[str, Any]
HELD_BACK = 10**9  # steps from here on are never trained on


def configuration() -> dict[str, object]:
    ids = {name: tokenizer().token_to_id(name) for name in ("<|im_end|>", "<|endoftext|>")}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer().get_vocab_size(),
        "hidden_size": 160,
        "num_hidden_layers": 6,
        "intermediate_size": 416,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "head_dim": 32,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": ids["<|endoftext|>"],
        "torch_dtype": "bfloat16",
    }


def mean_loss(model: Model, masters: Weights, tokens: mx.array, weights: mx.array) -> mx.array:
    """Weighted mean cross-entropy; `masters` are float32, the pass itself runs in bfloat16."""
    model.update(tree_map(lambda value: value.astype(mx.bfloat16), masters))
    logits = model(tokens[:, :-1]).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="none")
    mean: mx.array = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
    return mean


def arrays(batch: Batch) -> tuple[mx.array, mx.array]:
    return mx.array(batch.tokens).astype(mx.int32), mx.array(batch.weights).astype(mx.float32)


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FLOOR + (PEAK - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def save(folder: Path, masters: Weights) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: value.astype(mx.bfloat16) for name, value in tree_flatten(masters)}
    mx.save_safetensors(str(folder / "model.safetensors"), stored, metadata={"format": "mlx"})
    config = configuration()
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(
        json.dumps({**ids, "do_sample": False}, indent=2) + "\n"
    )


def compiled_step(
    model: Model, masters: Weights, optimizer: optim.Optimizer
) -> Callable[..., mx.array]:
    state = [masters, optimizer.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(tokens: mx.array, weights: mx.array, rate: mx.array) -> mx.array:
        loss, grads = mx.value_and_grad(lambda m: mean_loss(model, m, tokens, weights))(masters)
        grads, _ = optim.clip_grad_norm(grads, CLIP)
        optimizer.learning_rate = rate
        masters.update(optimizer.apply_gradients(grads, masters))
        return loss

    return step


def train(options: argparse.Namespace, log: Callable[[str], None]) -> None:
    mx.random.seed(options.seed)
    model = Model(ModelArgs.from_dict(configuration()))
    masters = tree_map(lambda value: value.astype(mx.float32), model.parameters())
    optimizer = optim.AdamW(learning_rate=PEAK, betas=[0.9, 0.98], weight_decay=0.05)
    optimizer.init(masters)
    step = compiled_step(model, masters, optimizer)
    count = sum(value.size for _, value in tree_flatten(masters))
    log(
        f"seed {options.seed}, {count} parameters, device {mx.default_device()}, mlx {version('mlx')}"
    )
    log(f"buckets {[(b.length, b.rows, b.share) for b in BUCKETS]}, scale {options.scale}")

    checks = [
        arrays(make_batch((options.seed, HELD_BACK + at, options.scale))) for at in range(6)
    ]
    steps, losses = options.steps, []
    begun = saved = paced = time.monotonic()
    for at, batch in enumerate(
        batches(options.seed, steps, workers=options.workers, scale=options.scale)
    ):
        losses.append(step(*arrays(batch), mx.array(learning_rate(at, steps))))
        mx.async_eval(losses[-1], masters, optimizer.state)  # type: ignore[no-untyped-call]
        if at == options.pace_at and options.seconds:
            mx.eval(losses)
            pace = (time.monotonic() - paced) / (options.pace_at // 2)
            steps = min(steps, at + int((options.seconds - (time.monotonic() - begun)) / pace))
            log(f"{1000 * pace:.1f} ms a step: {steps} steps in all")
        elif at == options.pace_at // 2:
            mx.eval(losses)
            paced = time.monotonic()
        if at % options.report == 0 or at + 1 == steps:
            mean = mx.mean(mx.stack(losses)).item()
            losses = []
            held = sum(mean_loss(model, masters, *check).item() for check in checks) / len(
                checks
            )
            log(
                f"step {at:6d}  {time.monotonic() - begun:6.1f} s  loss {mean:.4f}  other rows {held:.4f}"
            )
            if time.monotonic() - saved > 45:
                saved = time.monotonic()
                save(options.out, masters)
        if at + 1 >= steps:
            break
    save(options.out, masters)
    log(f"done in {time.monotonic() - begun:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument(
        "--seconds", type=float, default=0, help="fewer steps, to fit this time"
    )
    parser.add_argument(
        "--pace-at", type=int, default=400, help="the step at which the pace is taken"
    )
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--scale", type=float, default=1.0, help="rows per batch, relative")
    parser.add_argument("--report", type=int, default=500)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "train.log").open("w") as file:

        def log(line: str) -> None:
            print(line, flush=True)
            file.write(line + "\n")
            file.flush()

        train(options, log)


if __name__ == "__main__":
    main()
