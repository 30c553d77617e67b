"""The mock's answers: the words that it echoes, split into text, thoughts and tool calls."""

from __future__ import annotations

from ..output.marked import CallForm, MarkedChannels, ThoughtMarks
from ..output.tool_calls.family import tools_of
from ..output.tool_calls.hermes import Hermes
from ..prompts import ChatInput, Prompt, Sampled
from ..requests.admission import check_thinking
from .description import unsupported
from .words import EOS

THOUGHTS = ThoughtMarks("<think>", "</think>")


def check_chat(chat: ChatInput) -> None:
    """Refuse the options of a chat that need a real model. Raises: WireError."""
    check_thinking(chat.thinking, has_switch=False)
    if chat.thinking_budget is not None:
        raise unsupported("thinking.budget", missing="thinking_budget", field="thinking")
    if chat.must_call:
        raise unsupported("tool_choice", missing="required_calls")


def split_answer(prompt: Prompt, chat: ChatInput) -> None:
    """Set the channels of a chat's prompt. No arguments are checked against schemas."""
    calls = None
    if chat.tools:
        calls = CallForm(Hermes(), tools_of(chat.tools))
        prompt.check_arguments = _accept_all
        prompt.parallel_calls = chat.parallel_calls
    prompt.channels = MarkedChannels(THOUGHTS, calls)


def _accept_all(_name: str, _arguments: str) -> str | None:
    return None


def echo(prompt: Prompt, position: int) -> int:
    """Return the answer's token at an index: the prompt, then EOS unless it is ignored."""
    words, least = len(prompt.ids), prompt.params.min_tokens
    if position < max(words, least) or EOS not in prompt.stop_ids:
        return prompt.ids[position % words]
    return EOS


def certain(prompt: Prompt, token_id: int) -> Sampled:
    """Return a token of probability 1, which no temperature, penalty or bias changes."""
    params = prompt.params
    if not params.logprobs:
        return Sampled(prompt, token_id)
    top = [(token_id, 0.0)] if params.top_logprobs else None
    return Sampled(prompt, token_id, 0.0, top)
