"""A random model in the shape of Llama-3.2-1B, bf16, for speed tests where no hub is reached.

    python bench/make_model.py DIRECTORY [--layers 16]

The tiny model's tokenizer goes with it; ids past its vocabulary have placeholder text.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

SHAPE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "eos_token_id": 128001,
}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    options = parser.parse_args()
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.models import llama

    config = {**SHAPE, "num_hidden_layers": options.layers}
    model = llama.Model(llama.ModelArgs.from_dict(config))
    model.update(tree_map(lambda array: array.astype(mx.bfloat16), model.parameters()))
    options.directory.mkdir(parents=True, exist_ok=True)
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(
        str(options.directory / "model.safetensors"), weights, {"format": "mlx"}
    )
    (options.directory / "config.json").write_text(json.dumps(config))
    tiny = Path(__file__).resolve().parent.parent / "testdata" / "tiny"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / name, options.directory / name)


if __name__ == "__main__":
    main()
