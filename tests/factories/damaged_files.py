"""Broken config.json, tokenizer and template files."""

from __future__ import annotations

from pathlib import Path

from .damage import damage, edit_json
from .models import write_json


@damage("no_config", "config.json is absent")
def _no_config(model: Path) -> None:
    (model / "config.json").unlink()


@damage("invalid_config_json", "config.json is cut off in the middle")
def _invalid_config_json(model: Path) -> None:
    config = model / "config.json"
    config.write_text(config.read_text()[:100])


@damage("config_is_list", "config.json holds a list")
def _config_is_list(model: Path) -> None:
    write_json(model / "config.json", [])


@damage("no_model_type", "config.json has no model_type")
def _no_model_type(model: Path) -> None:
    edit_json(model / "config.json", lambda config: config.pop("model_type"))


@damage("unknown_architecture", "model_type names an architecture that mlx-lm does not have")
def _unknown_architecture(model: Path) -> None:
    edit_json(model / "config.json", lambda config: config.update(model_type="qwen99"))


@damage(
    "model_type_is_module_without_model",
    'model_type is "cache": a module of mlx_lm.models without a Model',
)
def _model_type_is_module_without_model(model: Path) -> None:
    edit_json(model / "config.json", lambda config: config.update(model_type="cache"))


@damage(
    "missing_config_field",
    "config.json lacks num_hidden_layers, which the architecture requires",
)
def _missing_config_field(model: Path) -> None:
    edit_json(model / "config.json", lambda config: config.pop("num_hidden_layers"))


@damage(
    "quantization_without_weights",
    "config.json claims 4-bit quantization of weights that are plain",
)
def _quantization_without_weights(model: Path) -> None:
    claim = {"group_size": 32, "bits": 4, "mode": "affine"}
    edit_json(
        model / "config.json",
        lambda config: config.update(quantization=claim, quantization_config=claim),
    )


@damage(
    "quantization_without_bits",
    "the quantization entry of config.json has a group size but no bits",
)
def _quantization_without_bits(model: Path) -> None:
    edit_json(
        model / "config.json", lambda config: config.update(quantization={"group_size": 32})
    )


@damage(
    "quant_method_fp8",
    "config.json claims block-wise fp8, a method mlx-lm does not undo for this architecture",
)
def _quant_method_fp8(model: Path) -> None:
    claim = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    }
    edit_json(model / "config.json", lambda config: config.update(quantization_config=claim))


@damage("missing_tokenizer", "neither tokenizer.json nor tokenizer_config.json is there")
def _missing_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()


@damage("invalid_tokenizer_json", "tokenizer.json is cut off in the middle")
def _invalid_tokenizer_json(model: Path) -> None:
    tokenizer = model / "tokenizer.json"
    text = tokenizer.read_text(encoding="utf-8")
    tokenizer.write_text(text[: len(text) // 2], encoding="utf-8")


@damage(
    "broken_chat_template",
    "the chat template has a Jinja syntax error (a loop that never ends)",
)
def _broken_chat_template(model: Path) -> None:
    template = "{% for message in messages %}{{ message['content'] }}"
    edit_json(
        model / "tokenizer_config.json", lambda config: config.update(chat_template=template)
    )
