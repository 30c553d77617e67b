"""Tools and conversations with calls and results, and their rendering by a template of the tests."""

from __future__ import annotations

from typing import Any

import msgspec
from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol.messages import Chat
from mlxwire_worker.mlx_engine.conversation.encoding import encode_chat, template_variables
from mlxwire_worker.mlx_engine.conversation.probing import Renders, probe
from mlxwire_worker.mlx_engine.conversation.turn_forms import TurnForms
from mlxwire_worker.mlx_engine.text.chat_template import Templates
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.operations.chat import chat_input
from mlxwire_worker.prompts import ChatInput
from mlxwire_worker.requests.tool_options import tool_options

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TOKENS = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_user|>",
    "<|im_assistant|>",
    "<|im_system|>",
    "<|im_middle|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "<|start|>",
    "<|end|>",
    "<|call|>",
    "<|message|>",
    "<|channel|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜end▁of▁sentence｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<|observation|>",
    "<|user|>",
    "<|assistant|>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_end|>",
    "<|tool_call_argument_begin|>",
    "<|turn>",
    "<turn|>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
]


def tokenizer_of(tokens: list[str]) -> Tokenizer:
    """Return a tokenizer of characters whose control tokens are those of all families."""
    fast = FastTokenizer(models.BPE({"?": 0}, [], unk_token="?"))
    fast.decoder = decoders.Fuse()
    plain = {chr(code) for code in range(1, 127)} | set("".join(tokens)) | set("öüß🚀")
    fast.add_tokens(sorted(plain))
    fast.add_special_tokens([AddedToken(token, special=True) for token in tokens])
    return Tokenizer(fast, SPECIAL)


def tool(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            **({"description": description} if description else {}),
            "parameters": {"type": "object", "properties": properties},
        },
    }


WEATHER = tool("get_weather", "Get <b>the</b> weather & more", city={"type": "string"})
ADD = tool("add", a={"type": "number"}, b={"type": "array", "items": {"type": "number"}})


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def call(name: str, arguments: Any, call_id: str | None = "abcdefgh1") -> dict[str, Any]:
    named = {} if call_id is None else {"id": call_id}
    return {**named, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*calls: dict[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def result(content: str, call_id: str | None = "abcdefgh1", **more: Any) -> dict[str, Any]:
    named = {} if call_id is None else {"tool_call_id": call_id}
    return {"role": "tool", "content": content, **named, **more}


def asked(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, **options: Any
) -> ChatInput:
    """Return the engine's input for a request as a host sends it."""
    fields = {"cmd": "chat", "id": "c", "messages": messages, "tools": tools or [], **options}
    request = msgspec.convert(fields, Chat)
    return chat_input(
        request.messages,
        special_tokens=request.special_tokens,
        tools=tool_options(request.tools),
    )


class Rendering:
    """One template, with what the probe finds about it."""

    def __init__(self, helper: TemplateProcess, template: str, tokenizer: Tokenizer) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self._render = helper.render
        self.found: Renders = probe(
            Templates(template, template),
            template_variables(ChatInput(messages=[]), SPECIAL),
            helper.render,
        )

    @property
    def forms(self) -> TurnForms:
        assert self.found.tools is not None
        return self.found.tools.forms

    def ids(self, chat: ChatInput) -> list[int]:
        tools = self.found.tools if chat.tools else None
        return encode_chat(
            chat,
            self.template,
            self.tokenizer,
            self._render,
            forms=tools.forms if tools else self.found.plain,
            needs_system=tools is not None and tools.needs_system,
        )

    def text(self, chat: ChatInput) -> str:
        return self.tokenizer.decode(self.ids(chat))

    def control(self, chat: ChatInput) -> list[int]:
        known = self.tokenizer.control_tokens._contents
        return [token for token in self.ids(chat) if token in known]
