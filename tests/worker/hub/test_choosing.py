"""Which files of a repository a model is made of."""

from __future__ import annotations

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.hub.choosing import choose

MODEL = {"config.json", "model.safetensors", "tokenizer.json"}
KEPT = {
    *(
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "model_mtp.safetensors",
    ),
    *("generation_config.json", "tokenizer.model", "qwen.tiktoken", "merges.txt", "vocab.txt"),
    *(
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "LICENSE",
        "NOTICE.txt",
    ),
    *("modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"),
}
LEFT = {
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "model.gguf", "tf_model.h5"),
    *("onnx/model.onnx", "onnx/config.json", "original/params.json", "flax_model.msgpack"),
    *("README.md", ".gitattributes", "figure.png", "modeling_own.py", "openvino/openvino.json"),
    *("consolidated.safetensors", "training_args.bin"),
}


def test_what_a_load_reads_is_chosen_and_nothing_else() -> None:
    assert choose("owner/name", MODEL | KEPT | LEFT) == MODEL | KEPT


def test_weights_under_another_name_are_chosen_where_there_are_no_others() -> None:
    files = {"config.json", "consolidated.safetensors"}

    assert choose("owner/name", files) == files


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model-q4.gguf", "onnx/model.onnx"])
def test_a_repository_without_safetensors_is_refused_with_what_it_has(weights: str) -> None:
    with pytest.raises(WireError) as refused:
        choose("owner/name", {"config.json", weights})

    assert refused.value.code == "unsupported_model"
    assert weights in refused.value.message
    assert "--all-files" in refused.value.message


def test_a_repository_without_weights_is_refused() -> None:
    with pytest.raises(WireError, match="no weights at all"):
        choose(
            "owner/name", {"config.json", "1_Pooling/config.json", "2_Dense/model.safetensors"}
        )
