"""An interactive session: a prompt, a streaming answer, and the turns so far.

The event loop runs only during an answer. At the prompt, Ctrl-C raises KeyboardInterrupt.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

from ..errors import DrainTimeout, MlxwireError, ProtocolViolation, ShuttingDown, WorkerCrashed
from ..model import Model
from ..options import ChatOptions
from .answer import Impatient, take_answer
from .arguments import Launch
from .exits import report
from .launch import launch_worker, load_model
from .terminal import say

Turns = list[dict[str, str]]
PROMPT = "> "
HELP = """\
/reset   forget the conversation, except for the system message
/exit    end the session, as Ctrl-D does
/help    this list
Ctrl-C cancels an answer; the text so far stays in the conversation."""

WORKER_IS_LOST = (WorkerCrashed, ProtocolViolation, DrainTimeout, ShuttingDown)
"""Errors that end the session; after any other error it goes on."""


def run_session(
    launch: Launch, opening: Turns, options: ChatOptions, *, json: bool, thoughts: bool = True
) -> None:
    """Chat until the input ends, one turn for each line. Raises: as `answer_once`."""
    with asyncio.Runner() as runner:
        worker = runner.run(launch_worker(launch))
        try:
            model = runner.run(load_model(worker, launch))
            session = Session(
                runner, model, launch, opening=opening, options=options, json=json
            )
            session.thoughts = thoughts
            session.run()
        finally:
            runner.run(worker.close())


class Session:
    """One conversation: reads the user's turns and shows the answers."""

    def __init__(
        self,
        runner: asyncio.Runner,
        model: Model,
        launch: Launch,
        *,
        opening: Turns,
        options: ChatOptions,
        json: bool,
    ) -> None:
        self.thoughts = True
        """False leaves out the model's thoughts, which are never part of the conversation."""
        self._runner = runner
        self._model = model
        self._launch = launch
        self._options = options
        self._json = json
        self._opening = opening
        self._turns = opening
        self._ended = False
        self._commands: dict[str, Callable[[], None]] = {
            "/exit": self._exit,
            "/reset": self._reset,
            "/help": lambda: say(HELP),
        }

    def run(self) -> None:
        """Run until the input ends. Raises: KeyboardInterrupt at the second Ctrl-C in a row."""
        if not self._launch.quiet:
            say(f"{self._model.loaded.path} · /help lists commands, Ctrl-D ends", "dim")
        pressed = False
        while not self._ended:
            try:
                line = self._read_line()
                if line is None:
                    return
                pressed = False
                self._take(line)
            except KeyboardInterrupt as interrupt:
                if pressed or isinstance(interrupt, Impatient):
                    say("\nthe session ends", "dim")
                    raise
                pressed = True
                say("\nCtrl-C again, Ctrl-D or /exit to end", "dim")

    def _read_line(self) -> str | None:
        """Return the next line without its newline; None at the end of the input."""
        if sys.stdout.isatty():
            with suppress(ImportError):
                import readline  # noqa: F401  gives `input` editing and a history
            try:
                return input(PROMPT)
            except EOFError:
                say("")
                return None
        say(PROMPT, end="")  # `input` would write it to stdout, among the results
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None

    def _take(self, line: str) -> None:
        if not line.strip():
            return
        if line.startswith("/"):
            command = line.strip()
            if command in self._commands:
                self._commands[command]()
            else:
                say(f"{command.split()[0]} is no command; /help lists the commands")
            return
        try:
            self._turn(line)
        except MlxwireError as error:
            if isinstance(error, WORKER_IS_LOST):
                raise
            report(error, json=self._json)

    def _turn(self, line: str) -> None:
        asked = [*self._turns, {"role": "user", "content": line}]
        answer = self._runner.run(
            take_answer(
                self._model,
                lambda model, bar: model.chat(asked, on_progress=bar, **self._options),
                self._launch,
                json=self._json,
                thoughts=self.thoughts,
            )
        )
        if answer.text or not answer.interrupted:
            self._turns = [*asked, {"role": "assistant", "content": answer.text}]

    def _reset(self) -> None:
        self._turns = self._opening
        say("the conversation was reset", "dim")

    def _exit(self) -> None:
        self._ended = True
