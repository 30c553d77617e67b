"""Adds to the prompt of a chat what splits its answer into channels and what holds it to a form.

Three things can hold an answer: the request's ``response_format``, the grammar of a call that must
come, and the budget of a thought. A thought comes before the form and is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlxwire_protocol import WireError, invalid_params

from ...output.channel_reader import ChannelReader
from ...output.tool_calls.family import Tools, tools_of
from ...prompts import ChatInput, Constraint, Prompt
from ..constraints.thought import ThoughtConstraint

if TYPE_CHECKING:
    from ..loading import LoadedModel

END_TOKENS = 32
"""Tokens at the end of a prompt in which the mark that opens a thought must stand."""


def shape_answer(prompt: Prompt, chat: ChatInput, loaded: LoadedModel) -> None:
    """Set the channels and the constraint of a chat's prompt.

    Raises: WireError ``invalid_params`` or ``unsupported_capability`` for options that this model
    can't honour together.
    """
    form = loaded.answer_form
    opened = form.opened_by(loaded.tokenizer.decode(prompt.ids[-END_TOKENS:]))
    tools = tools_of(chat.tools) if chat.tools else None
    formed = prompt.constraint is not None
    if tools is not None:
        if not form.can_call:
            raise _no_calls()
        prompt.check_arguments = loaded.argument_checks.of(tools).problem
        prompt.parallel_calls = chat.parallel_calls
        if chat.must_call:
            prompt.constraint = _calls(prompt, chat, tools, loaded)
    answer = prompt.constraint
    prompt.constraint = _with_thought(prompt, chat, loaded, tools, opened=opened)
    # Without a thought before it, a form holds the whole text, and a mark in it is part of it.
    only_form = formed and prompt.constraint is answer
    if chat.separates_channels and not only_form:
        prompt.channels = form.channels(tools, in_thought=opened, formed=formed)


def _calls(prompt: Prompt, chat: ChatInput, tools: Tools, loaded: LoadedModel) -> Constraint:
    """Make the constraint of an answer that must call a tool."""
    fields = {tool.name: f"tools[{at}].function.parameters" for at, tool in enumerate(tools)}
    if chat.chosen is not None:
        tools = Tools([tools.named(chat.chosen)])
    parallel = chat.parallel_calls and chat.chosen is None
    form = loaded.answer_form
    if not form.has_grammar:
        raise WireError(
            "unsupported_capability",
            "`tool_choice` requires a call, but the form of this model's calls has no grammar that "
            "could enforce one; set `tool_choice` to `auto`",
            data={"missing": ["required_calls"], "field": "tool_choice"},
        )
    family = form.family
    if family is not None and not family.enforces_strict and any(t.strict for t in tools):
        raise WireError(
            "unsupported_capability",
            "a tool is `strict`, but in the form of this model's calls a grammar can't enforce all of "
            "its `parameters`; leave `strict` out, and look at the `arguments_error` of the call",
            data={"missing": ["strict_tools"], "field": "tools"},
        )
    return loaded.constraints.make_calls(
        tools,
        lambda enforced: form.calls_grammar(enforced, parallel=parallel),
        prompt.stop_ids,
        fields=fields,
        more=parallel,
    )


def _with_thought(
    prompt: Prompt, chat: ChatInput, loaded: LoadedModel, tools: Tools | None, *, opened: bool
) -> Constraint | None:
    """Return the constraint of the answer, after a thought if one may come before it."""
    answer, budget, form = prompt.constraint, chat.thinking_budget, loaded.answer_form
    tokens = form.tokens
    if answer is None and budget is None:
        return None
    if budget is not None and tokens is None:
        raise _no_budget()
    if form.harmony and chat.must_call:
        if budget is None:
            return answer  # its grammar has the thought in it
        raise invalid_params(
            "thinking",
            "`thinking` has a `budget`, which can't be combined with a required call for this model; "
            "leave `thinking` out, or set `tool_choice` to `auto`",
        )
    if chat.thinking is False and answer is not None and not (opened or form.harmony):
        return answer
    if tokens is None:
        if not form.has_thoughts or not (opened or chat.thinking):
            return answer
        raise invalid_params(
            "response_format" if answer is not None and answer.formed else "tool_choice",
            "the form of an answer can't be enforced beside thinking, because the marks of this "
            "model's thoughts are no tokens of their own; set `thinking` to false, or leave the "
            "form out",
        )
    if form.harmony and chat.thinking is False:
        budget = 0
    if form.ends_thought(chat.thinking_message):
        raise invalid_params(
            "thinking.message",
            "the `message` of `thinking` has a mark that ends a thought, which the worker writes "
            "itself; leave the mark and the text behind it out",
        )

    def make_reader() -> ChannelReader:
        channels = form.channels(
            tools if answer is None else None, in_thought=opened, formed=answer is not None
        )
        assert channels is not None
        return ChannelReader(loaded.tokenizer.detokenizer(prompt.ids), channels)

    return ThoughtConstraint(
        tokens,
        answer,
        make_reader,
        size=loaded.info.vocab_size,
        budget=budget,
        message=tuple(loaded.tokenizer.encode_plain(chat.thinking_message))
        if chat.thinking_message
        else (),
        stop_ids=prompt.stop_ids,
    )


def _no_budget() -> WireError:
    return WireError(
        "unsupported_capability",
        "`thinking` has a `budget`, but this model has no tokens that open and close a thought, so "
        "none can be ended; leave `thinking` out",
        data={"missing": ["thinking_budget"], "field": "thinking"},
    )


def _no_calls() -> WireError:
    return WireError(
        "unsupported_capability",
        "the form in which this model writes tool calls is not known, so they can't be told from its "
        "text; leave `tools` out, or describe them in a message (`info` lists the capabilities of "
        "the model)",
        data={"missing": ["tools"], "field": "tools"},
    )
