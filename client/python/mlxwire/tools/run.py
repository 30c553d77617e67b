"""`run_tools`: a conversation in which Python functions answer the model's calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import Any, Unpack

from ..backend import BackendModel
from ..errors import RequestTimeout
from ..options import Messages, RunOptions
from ..process.checks import check_seconds
from ..results import Token, ToolCall
from .rounds import Rounds, ToolResult, ToolsAnswer, check_run, failed, returned
from .tool import Tool


async def run_tools(
    model: BackendModel,
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

    Each of ``tools`` is a function or a `Tool`. The calls of one answer run together: async
    functions at once, plain ones one after the other in another thread. A str that a function
    returns is given to the model as it is, anything else as JSON. An exception is told to the model,
    or raised here with ``raise_errors``. A call that can't be read, is of no known tool or has wrong
    arguments is told to the model as an error, and it may try again. A ``tool_choice`` that forces a
    call holds in the first round only. ``on_token`` hears each token at once, also thoughts and parts
    of calls; ``on_call`` each call before it runs, ``on_result`` its result. ``timeout``: seconds for
    the whole run.

    A cancelled task cancels the request and the async functions. Raises: TooManyRounds after
    ``max_rounds`` answers with calls, CallCutOff if ``max_tokens`` cut a call, RequestTimeout,
    TypeError for a function that can't be a tool, and the errors of `Model.chat`.
    """
    check_run(options, on_token=on_token, on_call=on_call, on_result=on_result)
    check_seconds("timeout", timeout)
    rounds = Rounds(messages, tools, max_rounds, options)
    run = _Run(model, rounds, raise_errors, on_token, on_call, on_result)
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            while (answer := await run.ask()) is None:
                pass
            return answer
    except TimeoutError:
        if not deadline.expired():
            raise
        raise RequestTimeout(
            f"`run_tools` took longer than the {timeout:g} s it was given and was cancelled in round "
            f"{rounds.rounds}; give it more time, or fewer `max_rounds`"
        ) from None


class _Run:
    """The I/O of one run."""

    def __init__(
        self,
        model: BackendModel,
        rounds: Rounds,
        raise_errors: bool,
        on_token: Callable[[Token], object] | None,
        on_call: Callable[[ToolCall], object] | None,
        on_result: Callable[[ToolResult], object] | None,
    ) -> None:
        self._model = model
        self._rounds = rounds
        self._raise_errors = raise_errors
        self._on_token = on_token
        self._on_call = on_call
        self._on_result = on_result
        self._one_at_a_time = asyncio.Lock()

    async def ask(self) -> ToolsAnswer | None:
        """Run one round; return the end of the run if it was the last."""
        rounds = self._rounds
        options: Any = rounds.next_options()
        async with self._model.chat(rounds.messages, **options) as stream:
            async for token in stream:
                if self._on_token is not None:
                    self._on_token(token)
                rounds.heard(token)
        answer = rounds.answered(stream.done)
        if answer is None:
            rounds.take(await self._run_all(stream.done.tool_calls))
        return answer

    async def _run_all(self, calls: list[ToolCall]) -> list[ToolResult]:
        """Run the calls of one answer. Raises: the first exception, if those are raised."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(call)) for call in calls]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _run(self, call: ToolCall) -> ToolResult:
        result = await self._result(call)
        if self._on_result is not None:
            self._on_result(result)
        return result

    async def _result(self, call: ToolCall) -> ToolResult:
        prepared = self._rounds.prepare(call)
        if self._on_call is not None:
            self._on_call(call)
        if isinstance(prepared, ToolResult):
            return prepared
        tool, keywords = prepared
        try:
            if tool.is_async:
                return returned(call, await tool.function(**keywords))
            async with self._one_at_a_time:
                value = await asyncio.to_thread(tool.function, **keywords)
            return returned(call, await value if isawaitable(value) else value)
        except Exception as error:
            if self._raise_errors:
                raise
            return failed(call, error)
