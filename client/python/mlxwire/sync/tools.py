"""`run_tools` for programs without an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, Unpack

from ..options import Messages, RunOptions
from ..results import Token, ToolCall
from ..tools.rounds import Rounds, ToolResult, ToolsAnswer, check_run, failed, returned
from ..tools.tool import Tool
from .model import Model


def run_tools(
    model: Model,
    messages: Messages,
    tools: Iterable[Callable[..., Any] | Tool],
    *,
    max_rounds: int = 8,
    raise_errors: bool = False,
    on_token: Callable[[Token], object] | None = None,
    on_call: Callable[[ToolCall], object] | None = None,
    on_result: Callable[[ToolResult], object] | None = None,
    timeout: float | None = None,
    **options: Unpack[RunOptions],
) -> ToolsAnswer:
    """Answer a conversation, and run the functions that the model calls, until it calls no more.

    As `mlxwire.run_tools`, but functions and callbacks run in the calling thread, one after the
    other, and may use the model themselves. Async functions run on the model's thread.
    ``timeout``: seconds for each request. An exception, such as Ctrl-C, cancels the request.
    """
    check_run(options, on_token=on_token, on_call=on_call, on_result=on_result)
    rounds = Rounds(messages, tools, max_rounds, options)
    while True:
        asked: Any = rounds.next_options()
        with model.chat(rounds.messages, timeout=timeout, **asked) as stream:
            for token in stream:
                if on_token is not None:
                    on_token(token)
                rounds.heard(token)
        answer = rounds.answered(stream.done)
        if answer is not None:
            return answer
        results = []
        for call in stream.done.tool_calls:
            if on_call is not None:
                on_call(call)
            results.append(_result(model, rounds, call, raise_errors=raise_errors))
            if on_result is not None:
                on_result(results[-1])
        rounds.take(results)


def _result(model: Model, rounds: Rounds, call: ToolCall, *, raise_errors: bool) -> ToolResult:
    prepared = rounds.prepare(call)
    if isinstance(prepared, ToolResult):
        return prepared
    tool, keywords = prepared
    try:
        value = tool.function(**keywords)
        if isawaitable(value):
            value = model._thread.call(_result_of(value))
        return returned(call, value)
    except Exception as error:
        if raise_errors:
            raise
        return failed(call, error)


async def _result_of(awaitable: Awaitable[object]) -> object:
    return await awaitable
