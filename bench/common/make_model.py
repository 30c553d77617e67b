"""A random model in the shape of Llama-3.2-1B, bf16, for speed tests where no hub is reached.

    python -m bench.common.make_model DIRECTORY [--layers 16] [--shape llama|qwen3_next]

The other shape is a small one with recurrent layers, attention and experts.

The tiny model's tokenizer goes with it; ids past its vocabulary have placeholder text.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

LLAMA = {
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
QWEN3_NEXT = {
    **LLAMA,
    "model_type": "qwen3_next",
    "architectures": ["Qwen3NextForCausalLM"],
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
    "eos_token_id": 4095,
    "full_attention_interval": 4,
    "linear_num_value_heads": 8,
    "linear_num_key_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "partial_rotary_factor": 0.25,
    "tie_word_embeddings": False,
}
SHAPES = {"llama": LLAMA, "qwen3_next": QWEN3_NEXT}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama")
    parser.add_argument("--layers", type=int)
    options = parser.parse_args()
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.utils import _get_classes

    config = dict(SHAPES[options.shape])
    config["num_hidden_layers"] = options.layers or config["num_hidden_layers"]
    model_class, arguments = _get_classes(config)
    model = model_class(arguments.from_dict(config))
    model.update(tree_map(lambda array: array.astype(mx.bfloat16), model.parameters()))
    options.directory.mkdir(parents=True, exist_ok=True)
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(
        str(options.directory / "model.safetensors"), weights, {"format": "mlx"}
    )
    (options.directory / "config.json").write_text(json.dumps(config))
    tiny = Path(__file__).resolve().parents[2] / "testdata" / "tiny"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / name, options.directory / name)


if __name__ == "__main__":
    main()
