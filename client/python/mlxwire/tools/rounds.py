"""The rounds of `run_tools` without I/O: requests, calls, and their results as turns.

The asyncio client and the blocking one drive it. One round is one answer of the model with the
results of its calls; an answer without calls is the last one. A call that can't be read is told to
the model in a turn of the user, since templates refuse a result that answers no call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..errors import InvalidParams
from ..options import Messages, chat_messages
from ..process.checks import check_callback, check_count
from ..results import Done, Token, ToolCall, ToolError
from ..token_stream import THINKING, assistant_turn
from .errors import CallCutOff, TooManyRounds
from .tool import Tool, tools_by_name

FORCING = "tool_choice"
"""The option that may force a call. Only the first round has it, or the model could never answer."""


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one call: ``content`` is what the model is told, a result or an error as text.

    ``error``: the exception of the function; None if it returned, and if it was not called because
    the call is not valid: then ``refused`` is True.
    """

    call: ToolCall
    content: str
    error: Exception | None = None
    refused: bool = False


class ToolsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The end of `run_tools`: the last answer, and the whole conversation.

    ``text`` and ``thoughts`` are of the last answer, whose turn is the last of ``messages``.
    ``rounds``: requests that were sent. ``done``: the end of the last one.
    """

    text: str
    messages: list[dict[str, Any]]
    thoughts: str
    rounds: int
    done: Done


class Rounds:
    """One run: the conversation so far, and what comes next."""

    def __init__(
        self,
        messages: Messages,
        tools: Iterable[Any],
        max_rounds: int,
        options: Mapping[str, Any],
    ) -> None:
        """Begin a run. Raises: TypeError for a function that can't be a tool, InvalidParams."""
        check_count("max_rounds", max_rounds, least=1)
        self.messages = chat_messages(messages)
        self.tools = tools_by_name(tools)
        self.rounds = 0
        self._texts: dict[str | None, list[str]] = {}
        self._failed: ToolError | None = None
        self._max_rounds = max_rounds
        self._options = dict(options)

    def next_options(self) -> dict[str, Any]:
        """Begin a round, and return the options of its request.

        Raises: TooManyRounds if there were as many as are allowed.
        """
        if self.rounds == self._max_rounds:
            raise TooManyRounds(
                f"the model still called tools in round {self.rounds}, the last one allowed: give "
                "`max_rounds` a higher number, or go on with the `messages` of this error",
                messages=self.messages,
            )
        options = dict(self._options)
        if self.tools:
            options["tools"] = [tool.definition for tool in self.tools.values()]
        if self.rounds and options.get(FORCING) not in ("auto", "none"):
            options.pop(FORCING, None)
        self.rounds += 1
        self._texts = {None: [], THINKING: []}
        return options

    def heard(self, token: Token) -> None:
        """Add a token of the model's answer."""
        self._texts.setdefault(token.channel, []).append(token.text)

    def answered(self, done: Done) -> ToolsAnswer | None:
        """Add the model's answer, which has ended; return the end of the run if it has no calls.

        Raises: CallCutOff if `max_tokens` cut a call.
        """
        text, thoughts = "".join(self._texts[None]), "".join(self._texts[THINKING])
        failed = self._failed = done.tool_error
        if failed is not None and failed.cut_off:
            fewer = ", or set `parallel_tool_calls` to False" if done.tool_calls else ""
            raise CallCutOff(
                f"`max_tokens` cut the model's tool call in round {self.rounds}, and no function of "
                f"that answer was run: give `max_tokens` a higher number{fewer}, and go on with the "
                "`messages` of this error",
                messages=self.messages,
                done=done,
                text=text,
                finish_reason=done.finish_reason,
            )
        self.messages.append(assistant_turn(text, thoughts, done.tool_calls))
        if done.tool_calls or failed is not None:
            return None
        return ToolsAnswer(
            text=text, messages=self.messages, thoughts=thoughts, rounds=self.rounds, done=done
        )

    def prepare(self, call: ToolCall) -> tuple[Tool, dict[str, Any]] | ToolResult:
        """Return the tool of a call and its keywords, or what the model is told instead."""
        tool = self.tools.get(call.name)
        if tool is None:
            return _refused(call, f"there is no tool {call.name!r}; {self._known}")
        if call.arguments_error is not None:
            return _refused(call, f"the arguments are not valid: {call.arguments_error}")
        try:
            return tool, tool.keywords(call.arguments)
        except ValueError as error:
            return _refused(call, f"the arguments are not valid: {error}")

    def take(self, results: Iterable[ToolResult]) -> None:
        """Add the results of an answer's calls, in their order, and why a further call failed."""
        turns = [
            {
                "role": "tool",
                "tool_call_id": result.call.call_id,
                "name": result.call.name,
                "content": result.content,
            }
            for result in results
        ]
        if self._failed is not None:
            problem = f"error: a tool call was not run: {self._failed.message}; {self._known}"
            if turns:  # some templates accept no turn of the user right behind a result
                turns[-1]["content"] += f"\n\n{problem}"
            else:
                turns.append({"role": "user", "content": problem})
        self.messages += turns

    @property
    def _known(self) -> str:
        return f"the tools are: {', '.join(self.tools) or 'none'}"


def returned(call: ToolCall, value: object) -> ToolResult:
    """Return the result of a function: a str as it is, anything else as JSON.

    Raises: TypeError if JSON can't hold the value.
    """
    if isinstance(value, str):
        return ToolResult(call=call, content=value)
    model_dump = getattr(value, "model_dump", None)  # of a pydantic model
    if callable(model_dump):
        value = model_dump(mode="json")
    try:
        return ToolResult(call=call, content=msgspec.json.encode(value).decode())
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"the tool {call.name!r} returned a {type(value).__name__} that JSON can't hold: "
            f"{error}. Return a str, or a value of JSON's types"
        ) from error


def failed(call: ToolCall, error: Exception) -> ToolResult:
    """Return what the model is told of an exception."""
    return ToolResult(call=call, content=f"error: {type(error).__name__}: {error}", error=error)


def check_run(options: Mapping[str, Any], **callbacks: object) -> None:
    """Refuse options that a run has no use for, and callbacks that can't be called.

    Raises: InvalidParams.
    """
    if "response_model" in options:
        raise InvalidParams(
            "`response_model` can't stand beside tools, because a call has the form of its tool: "
            "leave it out, and ask for the form in a `chat` with the messages of the answer",
            data={"field": "response_model"},
        )
    for name, callback in callbacks.items():
        check_callback(name, callback)


def _refused(call: ToolCall, problem: str) -> ToolResult:
    return ToolResult(call=call, content=f"error: {problem}", refused=True)
