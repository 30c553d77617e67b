"""PEFT's side of the tests: a program in an environment of its own, with torch and transformers.

It reads one job as a line of JSON from stdin, `make`, `save` or `compute`, and answers each with a line on
stdout: an empty object, or one with an `error`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM


def make(config: dict[str, Any], out: str, seed: int = 0) -> None:
    """Save a model of a config, with random weights under the names that transformers gives them."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:  # the usual 0.02 leaves all logits alike
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    made.save_pretrained(out)


def save(model: str, out: str, config: dict[str, Any], seed: int = 0, **options: Any) -> None:
    """Save an adapter with random numbers, made by PEFT from the arguments of its LoraConfig."""
    torch.manual_seed(seed)
    adapted = get_peft_model(_model(model), LoraConfig(task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_magnitude_vector" in name:
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            elif "lora_" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(out, **options)


def compute(model: str, adapter: str | None, ids: list[list[int]], out: str) -> None:
    """Write the `logits` [B, T, V] of ids [B, T] in float32, and the number of adapted layers."""
    computing = _model(model)
    if adapter is not None:
        computing = PeftModel.from_pretrained(computing, adapter)
    layers = sum(hasattr(module, "lora_A") for module in computing.modules())
    with torch.no_grad():
        logits = computing.eval()(torch.tensor(ids)).logits
    save_file({"logits": logits.contiguous(), "layers": torch.tensor(layers)}, out)


def _model(path: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    )


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    torch.set_num_threads(1)
    jobs: dict[str, Callable[..., None]] = {"make": make, "save": save, "compute": compute}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            jobs[job.pop("do")](**job)
            answer = {}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
