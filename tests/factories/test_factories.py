"""The factories make models that `mlx_lm.load` takes for real ones, and folders it should not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm import load, stream_generate
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache
from tokenizers import Tokenizer

from factories import BROKEN, FAMILIES, build_adapter, build_broken, build_model

BOS = {
    "gemma3": "<bos>",
    "qwen2": None,
    "qwen3": None,
    "llama3": "<|begin_of_text|>",
    "deepseek-r1-qwen2": "<｜begin▁of▁sentence｜>",
}
ENDS = {
    "gemma3": {"<eos>", "<end_of_turn>"},
    "qwen2": {"<|im_end|>", "<|endoftext|>"},
    "qwen3": {"<|im_end|>", "<|endoftext|>"},
    "llama3": {"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"},
    "deepseek-r1-qwen2": {"<｜end▁of▁sentence｜>"},
}
MIXED = "Grüße, 你好 🚀 in 2024:\n\n    don't   stop"
QUESTION: list[dict[str, Any]] = [
    {"role": "user", "content": "What is the weather in Paris today?"}
]

Models = Callable[..., Path]


def greedy(path: Path, *, tokens: int = 64, **options: Any) -> list[Any]:
    model, tokenizer = load(str(path), **options)
    prompt = tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, date_string="26 Jul 2024"
    )
    return list(stream_generate(model, tokenizer, prompt, max_tokens=tokens))


def token_ids(responses: list[Any]) -> list[int]:
    return [response.token for response in responses]


def lead(response: Any) -> float:
    """Return how far the best token is ahead of the second, in nats."""
    second, best = mx.sort(response.logprobs)[-2:]
    gap: Any = (best - second).item()
    return float(gap)


def rendered(path: Path, messages: list[dict[str, Any]], **options: Any) -> str:
    _, tokenizer = load(str(path), lazy=True)
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_wanders_for_64_tokens_without_ending_or_a_near_tie(
    models: Models, family: str, quantized: bool
) -> None:
    responses = greedy(models(family, quantized))

    assert len(responses) == 64
    assert responses[-1].finish_reason == "length"
    assert len(set(token_ids(responses))) >= 20
    assert min(map(lead, responses)) > 1e-3


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loaded_tokenizer_encodes_what_its_file_says(
    models: Models, family: str, quantized: bool
) -> None:
    path = models(family, quantized)
    _, loaded = load(str(path), lazy=True)
    original = Tokenizer.from_file(str(models(family) / "tokenizer.json"))

    ids = loaded.encode(MIXED)

    assert ids == original.encode(MIXED).ids
    assert loaded.decode(ids, skip_special_tokens=True) == MIXED


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bos_comes_before_text_and_once_in_a_chat_where_the_family_has_one(
    models: Models, family: str
) -> None:
    _, tokenizer = load(str(models(family)), lazy=True)
    bos = BOS[family]

    assert tokenizer.bos_token == bos
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True)
    if bos is None:
        assert tokenizer.encode("Hello") == tokenizer.encode("Hello", add_special_tokens=False)
    else:
        assert tokenizer.encode("Hello")[0] == tokenizer.bos_token_id
        assert prompt.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_mlx_lm_ends_a_turn_at_the_published_tokens(
    models: Models, family: str, quantized: bool
) -> None:
    _, tokenizer = load(str(models(family, quantized)), lazy=True)

    assert set(tokenizer.convert_ids_to_tokens(sorted(tokenizer.eos_token_ids))) == ENDS[family]


def test_gemma_keeps_the_published_ids_of_its_control_tokens(models: Models) -> None:
    config = json.loads((models("gemma3") / "config.json").read_text())

    assert config["eos_token_id"] == [1, 106]
    assert (config["bos_token_id"], config["pad_token_id"]) == (2, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_characters_split_over_tokens_in_encoded_and_in_generated_text(
    models: Models, family: str
) -> None:
    _, tokenizer = load(str(models(family)), lazy=True)

    emoji = tokenizer.encode("🚀", add_special_tokens=False)
    generated = token_ids(greedy(models(family)))

    assert len(emoji) > 1
    assert all(tokenizer.decode([token]) == "�" for token in emoji)
    assert any("�" in tokenizer.decode([token]) for token in generated)


def test_llama_takes_digits_in_threes_and_qwen_one_by_one(models: Models) -> None:
    def pieces(family: str) -> list[str]:
        file = Tokenizer.from_file(str(models(family) / "tokenizer.json"))
        return [piece for piece, _ in file.pre_tokenizer.pre_tokenize_str("123456")]

    assert pieces("llama3") == ["123", "456"]
    assert pieces("qwen3") == list("123456")


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "deepseek-r1-qwen2"])
def test_qwen_vocabularies_are_padded_past_the_last_token(models: Models, family: str) -> None:
    _, tokenizer, config = load(str(models(family)), lazy=True, return_config=True)

    assert config["vocab_size"] > len(tokenizer)
    assert config["vocab_size"] % 64 == 0


def test_gemma_has_both_kinds_of_layer_and_its_window_shapes_the_text(models: Models) -> None:
    path = models("gemma3")
    model, _ = load(str(path))

    kinds = {type(cache) for cache in make_prompt_cache(model)}

    assert kinds == {KVCache, RotatingKVCache}
    wide = greedy(path, model_config={"sliding_window": 512})
    assert token_ids(wide) != token_ids(greedy(path))


def test_the_rope_scaling_of_llama_shapes_the_text(models: Models) -> None:
    path = models("llama3")

    unscaled = greedy(path, model_config={"rope_scaling": None})

    assert token_ids(unscaled) != token_ids(greedy(path))


@pytest.mark.parametrize("family", FAMILIES)
def test_quantized_models_hold_4_bit_modules(models: Models, family: str) -> None:
    model, _, config = load(str(models(family, quantized=True)), lazy=True, return_config=True)

    linear = model.layers[0].self_attn.q_proj

    assert isinstance(linear, nn.QuantizedLinear)
    assert (linear.bits, linear.group_size, linear.mode) == (4, 32, "affine")
    assert isinstance(model.model.embed_tokens, nn.QuantizedEmbedding)
    assert config["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine"}


def test_thinking_and_tools_are_found_where_the_family_has_them(models: Models) -> None:
    tokenizers = {family: load(str(models(family)), lazy=True)[1] for family in FAMILIES}

    thinking = {family for family, tokenizer in tokenizers.items() if tokenizer.has_thinking}
    tools = {family for family, tokenizer in tokenizers.items() if tokenizer.has_tool_calling}

    assert thinking == {"qwen3", "deepseek-r1-qwen2"}
    assert tools == {"qwen3"}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_weights(
    tmp_path: Path,
) -> None:
    first, again, other = (
        build_model("gemma3", tmp_path / name, seed=seed)
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )

    files = {file.name: file.read_bytes() for file in first.iterdir()}

    assert {file.name: file.read_bytes() for file in again.iterdir()} == files
    assert (other / "tokenizer.json").read_bytes() == files["tokenizer.json"]
    assert (other / "model.safetensors").read_bytes() != files["model.safetensors"]


def test_weights_come_in_bfloat16_and_in_shards_on_request(tmp_path: Path) -> None:
    path = build_model("qwen3", tmp_path, dtype="bfloat16", shards=3)

    model, _ = load(str(path))

    assert model.model.norm.weight.dtype == mx.bfloat16
    index = json.loads((path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {
        file.name for file in path.glob("*.safetensors")
    }
    assert len(set(index["weight_map"].values())) == 3


def test_a_quantized_model_refuses_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave shards at 1"):
        build_model("qwen2", tmp_path, quantized=True, shards=2)


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": "<think>\nA greeting.\n</think>\n\nHello!"},
    {"role": "user", "content": "Bye"},
]
RENDERED = {
    "gemma3": "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
    "<start_of_turn>model\n<think>\nA greeting.\n</think>\n\nHello!<end_of_turn>\n"
    "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
    "qwen2": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
    "<|im_start|>assistant\n<think>\nA greeting.\n</think>\n\nHello!<|im_end|>\n"
    "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    "qwen3": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
    "<|im_start|>assistant\nHello!<|im_end|>\n"
    "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
    "<think>\nA greeting.\n</think>\n\nHello!<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "deepseek-r1-qwen2": "<｜begin▁of▁sentence｜>Be brief.<｜User｜> Hi "
    "<｜Assistant｜>\n\nHello!<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜><think>\n",
}


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_renders_in_the_familys_format(
    models: Models, family: str, quantized: bool
) -> None:
    path = models(family, quantized)

    text = rendered(path, CONVERSATION, add_generation_prompt=True, date_string="26 Jul 2024")

    assert text == RENDERED[family]


def test_gemma_refuses_roles_that_do_not_alternate(models: Models) -> None:
    with pytest.raises(Exception, match="Conversation roles must alternate"):
        rendered(models("gemma3"), QUESTION + QUESTION)


def test_qwen2_speaks_for_itself_when_there_is_no_system_message(models: Models) -> None:
    text = rendered(models("qwen2"), [{"role": "user", "content": "Hi"}])

    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
    )


def test_qwen3_skips_the_thought_when_thinking_is_off(models: Models) -> None:
    path = models("qwen3")

    on = rendered(path, QUESTION, add_generation_prompt=True)
    off = rendered(path, QUESTION, add_generation_prompt=True, enable_thinking=False)

    assert off == on + "<think>\n\n</think>\n\n"


TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object"}},
}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
TOOL_TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny"},
]


def test_qwen3_shows_tools_calls_and_results(models: Models) -> None:
    text = rendered(models("qwen3"), TOOL_TURNS, tools=[TOOL])

    declaration, _, turns = text.partition("<|im_start|>user\n")
    assert declaration.startswith(
        "<|im_start|>system\n# Tools\n\nYou may call one or more functions"
    )
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in declaration
    assert turns == (
        "Weather?<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
        "<|im_end|>\n<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
    )


def test_llama_shows_tools_in_the_first_user_turn_and_results_as_ipython(
    models: Models,
) -> None:
    text = rendered(models("llama3"), TOOL_TURNS, tools=[TOOL], date_string="26 Jul 2024")

    header = "<|start_header_id|>{}<|end_header_id|>\n\n".format
    assert text == (
        f"<|begin_of_text|>{header('system')}Environment: ipython\n"
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        f"{header('user')}Given the following functions, please respond with a JSON for a function"
        " call with its proper arguments that best answers the given prompt.\n\n"
        'Respond in the format {"name": function name, "parameters": dictionary of argument name'
        " and its value}.Do not use variables.\n\n"
        f"{json.dumps(TOOL, indent=4)}\n\nWeather?<|eot_id|>"
        f'{header("assistant")}{{"name": "get_weather", "parameters": {{"city": "Paris"}}}}<|eot_id|>'
        f'{header("ipython")}"sunny"<|eot_id|>'
    )


def test_deepseek_shows_calls_and_results_between_its_markers(models: Models) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    calls = [{"type": "function", "function": function}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "sunny"},
    ]

    text = rendered(models("deepseek-r1-qwen2"), messages, add_generation_prompt=True)

    assert text == (
        "<｜begin▁of▁sentence｜><｜User｜>Weather?<｜Assistant｜><｜tool▁calls▁begin｜>"
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        '```json\n{"city": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>sunny<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    )


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
def test_an_adapter_changes_the_text(models: Models, tmp_path: Path, quantized: bool) -> None:
    path = models("qwen3", quantized)
    adapter = build_adapter(path, tmp_path)

    adapted = greedy(path, adapter_path=str(adapter))

    assert token_ids(adapted) != token_ids(greedy(path))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["fine_tune_type"] == "lora"


# What mlx-lm does with each broken folder; None where it loads it without a word.
OUTCOMES: dict[str, type[Exception] | None] = {
    "no_config": FileNotFoundError,
    "invalid_config_json": json.JSONDecodeError,
    "config_is_list": TypeError,
    "no_model_type": KeyError,
    "unknown_architecture": ValueError,
    "model_type_is_module_without_model": AttributeError,
    "missing_config_field": TypeError,
    "quantization_without_weights": None,
    "quantization_without_bits": KeyError,
    "quant_method_fp8": None,
    "missing_tokenizer": None,
    "invalid_tokenizer_json": json.JSONDecodeError,
    "broken_chat_template": None,
    "no_weights": FileNotFoundError,
    "pickle_weights": FileNotFoundError,
    "missing_shard": ValueError,
    "phantom_shard": None,
    "truncated_shard": RuntimeError,
    "foreign_shard": ValueError,
    "stale_extra_shard": None,
    "shape_mismatch": ValueError,
    "huge_header": RuntimeError,
    "negative_offsets": RuntimeError,
    "overlapping_offsets": None,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_mlx_lm_fails_on_a_broken_folder_in_its_own_way_or_not_at_all(
    tmp_path: Path, kind: str
) -> None:
    path = build_broken(kind, tmp_path)
    expected = OUTCOMES[kind]

    if expected is None:
        load(str(path))
    else:
        with pytest.raises(expected) as raised:
            load(str(path))
        assert raised.type is expected


def test_silent_faults_are_in_the_files_all_the_same(tmp_path: Path) -> None:
    def broken(kind: str) -> Path:
        return build_broken(kind, tmp_path / kind)

    def arrays(model: nn.Module) -> list[mx.array]:
        return [array for _, array in tree_flatten(model.parameters())]

    sound, _ = load(str(build_model("qwen2", tmp_path / "sound")))
    overlapping, _ = load(str(broken("overlapping_offsets")))
    plain, _ = load(str(broken("quantization_without_weights")))
    _, bare = load(str(broken("missing_tokenizer")))
    index = json.loads((broken("phantom_shard") / "model.safetensors.index.json").read_text())

    pairs = zip(arrays(overlapping), arrays(sound), strict=True)
    assert not all(bool(mx.array_equal(mine, healthy)) for mine, healthy in pairs)
    assert type(plain.model.layers[0].self_attn.q_proj) is nn.Linear
    assert not bare.has_chat_template
    named = set(index["weight_map"].values())
    assert named - {file.name for file in (tmp_path / "phantom_shard").iterdir()}
    with pytest.raises(Exception, match="Unexpected end of template"):
        rendered(broken("broken_chat_template"), QUESTION)
