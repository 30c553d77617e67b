"""Recognises the form in which a model writes tool calls, from its chat template and vocabulary."""

from __future__ import annotations

from collections.abc import Collection

from .deepseek import DeepSeek
from .dsml import Dsml
from .family import Family
from .gemma import Gemma
from .glm import Glm
from .hermes import Hermes
from .kimi import Kimi
from .llama3 import Llama3
from .minimax import MiniMax, MiniMaxM1
from .mistral import Mistral
from .qwen3_coder import Qwen3Coder

_JSON_NAME = ('"name":', '\\"name\\":', "'name':", '"name" :', "tool_call.name | tojson")
_LLAMA_PARAMETERS = ('"parameters":', '\\"parameters\\":')


def find_family(template: str, added_tokens: Collection[str]) -> Family | None:
    """Return the family of tool calls that a chat template renders; None if it is not known.

    ``added_tokens`` are the texts of the vocabulary's added tokens. They count where a template does
    not show calls, and only for tokens that no other family has.
    """
    return _of_template(template) or _of_vocabulary(template, added_tokens)


def _of_template(template: str) -> Family | None:
    if "｜DSML｜" in template:
        return Dsml.of_template(template)
    if "<minimax:tool_call>" in template:
        return MiniMax()
    if ("<|tool_call>" in template and "<tool_call|>" in template) or (
        "<start_function_call>" in template
    ):
        return Gemma.of_template(template)
    if "<|tool_calls_section_begin|>" in template:
        return Kimi()
    if "<｜tool▁calls▁begin｜>" in template:
        return DeepSeek.of_template(template)
    if "[TOOL_CALLS]" in template:
        return Mistral.of_template(template)
    if "<tool_call>" in template:
        return _of_shared_mark(template)
    if "<tool_calls>" in template and any(name in template for name in _JSON_NAME):
        return MiniMaxM1.of_template(template)
    if _is_llama(template):
        return Llama3()
    return None


def _of_shared_mark(template: str) -> Family | None:
    """Tell the families apart that write `<tool_call>`."""
    if "<arg_key>" in template:
        return Glm.of_template(template)
    if "<function=" in template and "<parameter=" in template:
        return Qwen3Coder()
    if any(name in template for name in _JSON_NAME):
        return Hermes()
    return None


def _is_llama(template: str) -> bool:
    if "<|start_header_id|>" not in template and "<|header_start|>" not in template:
        return False
    return "tools" in template and any(text in template for text in _LLAMA_PARAMETERS)


def _of_vocabulary(template: str, added_tokens: Collection[str]) -> Family | None:
    """Recognise a family by tokens of its own, for a template that takes tools but shows no call."""
    if "tools" not in template:
        return None
    if "｜DSML｜" in added_tokens:
        return Dsml()
    if "<minimax:tool_call>" in added_tokens:
        return MiniMax()
    if "<|tool_calls_section_begin|>" in added_tokens:
        return Kimi()
    if "<start_function_call>" in added_tokens:
        return Gemma("function")
    if "<|tool_call>" in added_tokens and "<tool_call|>" in added_tokens:
        return Gemma("4")
    return None
