"""Renders chat templates in a helper process, with a time limit, and restarts the helper.

Theory of operation. A chat template is a program from a model folder, which nobody has checked.
`template_program` runs it in Jinja's sandbox, with limits for memory and processor time; this
file limits the wall clock. The protocol is one JSON object per line in each direction.

Order of events: `start` spawns the helper while the model loads, so its imports cost nothing;
`check` compiles the template once; `render` is called for each chat, and `boundaries` behind it
where they are wanted. The helper lives until `close`
and is replaced if it ends. It writes an empty line when it is ready, within ``START_SECONDS``; each
answer may take ``RENDER_SECONDS``. The renders of one load also share a time (`RenderTime`), since a slow
template would take that long for each thing that is to be found out.

How a call can end:
- an answer with a text or an error: the latter becomes `model_load_failed` or `invalid_params`;
- no answer in time: the helper is killed, and the template is at fault;
- the helper ends by a signal in ``_OWN_DEATHS``, or by itself: the template used too much processor
  time, memory or stack, and is at fault;
- the helper does not start, ends before it is ready, or ends by another signal: the surroundings are
  at fault, or somebody outside has killed it. The error is `unavailable`.

Invariants. One call at a time, under ``_lock``; any thread may call. A helper that has missed a
deadline is never asked again, since its late answer would be taken for the next one. The helper gets
none of the host's environment but what `process.environment` lists, and the variables that tell
Python where modules are.

Hazards and what went wrong before: a write to a helper that does not read blocks, so `exchange`
polls both pipes. `close` kills without the lock, to end a render that holds it. Pipes of helpers
that had ended stayed open. A helper killed from outside was reported as a fault of the messages.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from time import monotonic
from typing import Any

import msgspec
import orjson

from mlxwire_protocol import WireError

from ...process.child.exchange import exchange
from ...process.environment import LOADING, kept
from ...requests.surroundings import lacking
from ..conversation.boundaries import SECONDS, Boundaries
from .chat_template import PythonTemplate

RENDER_SECONDS = 5.0
START_SECONDS = 20.0
END_SECONDS = 5.0
_ENCODE = msgspec.json.Encoder().encode
"""Unlike orjson's, it writes integers of any size, which schemas and arguments may have."""
_PROGRAM = f"{__package__}.template_program"
_DOING = "the process that renders chat templates can't be used"
_OWN_DEATHS = frozenset({signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS})
"""Signals that a template causes by using too much time, memory or stack; others come from outside."""


class RenderTime:
    """The seconds that several renders share, with the starts of helpers between them.

    A render that takes longer than any may spends them all.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    @property
    def spent(self) -> bool:
        """Return True if a further render would be refused."""
        return self.left <= 0


class TemplateProcess:
    """A helper process that renders chat templates.

    Any thread may call; calls run one after the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def start(self) -> None:
        """Spawn the helper before its first use, so that it imports while the model loads.

        A failure is left to the first use, which tries again.
        """
        with self._lock, contextlib.suppress(WireError):
            self._ensure()

    def check(self, template: str) -> None:
        """Compile a template.

        Raises: WireError ``model_load_failed``, or ``unavailable`` if the helper does not start or
        was killed from outside.
        """
        answer = self._ask(_request(template), RenderTime(RENDER_SECONDS))
        if "error" in answer:
            raise WireError(
                "model_load_failed",
                f"the chat template does not compile ({answer['error']}); correct "
                "chat_template.jinja (or `chat_template` in tokenizer_config.json), or remove it",
                data={"reason": "chat_template"},
            )

    def render(
        self,
        template: str,
        variables: dict[str, Any],
        mark: str = "",
        *,
        time: RenderTime | None = None,
    ) -> str:
        """Render a template and return its text.

        ``mark`` is the character that `ControlTokens.mark` has put into the messages. ``time`` is what
        this render shares with others.

        Raises: WireError ``invalid_params`` for field ``messages`` if the template raises or uses
        too much time or memory, ``unavailable`` if the helper does not start or was killed from
        outside.
        """
        request = {"variables": variables, "mark": mark}
        text: str = self._told(template, request, time or RenderTime(RENDER_SECONDS))["text"]
        return text

    def boundaries(
        self,
        template: str,
        variables: dict[str, Any],
        text: str,
        counts: list[int],
        seconds: float = SECONDS,
    ) -> Boundaries:
        """Find where the first ``counts`` turns end in a text, as many as in ``seconds``.

        Raises: WireError, as `render`.
        """
        request = {"variables": variables, "text": text, "counts": counts, "seconds": seconds}
        return Boundaries(**self._told(template, request, RenderTime(RENDER_SECONDS)))

    def _told(self, template: str, more: dict[str, Any], time: RenderTime) -> dict[str, Any]:
        answer = self._ask({**_request(template), **more}, time)
        if "error" in answer:
            raise WireError(
                "invalid_params",
                f"the model's chat template can't render these messages: {answer['error']}; change "
                "the messages, or use `generate` with a `prompt`",
                data={"field": "messages"},
            )
        return answer

    def close(self) -> None:
        """Kill the helper, also in the middle of a render."""
        process = self._process
        if process is not None:
            process.kill()  # also ends a render that holds the lock
        with self._lock:
            if self._process is not None:
                self._discard(self._process)

    def _ask(self, request: dict[str, Any], time: RenderTime) -> dict[str, Any]:
        with self._lock:
            if time.spent:
                return _too_slow()
            began = monotonic()
            try:
                line = self._line(request, min(time.left, RENDER_SECONDS))
            except TimeoutError:
                time.left = 0
                return _too_slow()
            except BrokenPipeError:
                return {"error": "it used too much memory or time and was stopped"}
            finally:
                time.left -= monotonic() - began
        try:
            answer: dict[str, Any] = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {"error": "its text contains an unpaired surrogate"}
        return answer

    def _line(self, request: dict[str, Any], seconds: float) -> bytes:
        """Return the helper's answer.

        Raises: TimeoutError; BrokenPipeError if the helper ended for the template's fault; WireError
        ``unavailable``.
        """
        process = self._ensure()
        if not self._ready:
            self._await_ready(process)
        try:
            return exchange(process, _ENCODE(request) + b"\n", seconds)
        except TimeoutError:
            self._discard(process)
            raise
        except OSError:
            code = self._end(process)
            if code is not None and code <= 0 and -code not in _OWN_DEATHS:
                raise _unavailable("was killed from outside") from None
            raise BrokenPipeError from None

    def _ensure(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._discard(self._process)
        if self._process is None:
            self._ready = False
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    env=kept(os.environ, LOADING),
                )
            except (OSError, MemoryError) as error:
                raise lacking(error, _DOING) or _unavailable(
                    f"can't be started: {error}"
                ) from None
        return self._process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the empty line that the helper writes first. Raises: WireError ``unavailable``."""
        try:
            exchange(process, b"", START_SECONDS)
        except TimeoutError:
            self._discard(process)
            raise _unavailable(f"did not start within {START_SECONDS:g} s") from None
        except OSError:
            self._end(process)
            raise _unavailable("ended while it started, which its stderr may explain") from None
        self._ready = True

    def _end(self, process: subprocess.Popen[bytes]) -> int | None:
        """Reap a helper that ended during a call; return its exit code, None if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        code = process.returncode
        self._discard(process)
        return code

    def _discard(self, process: subprocess.Popen[bytes]) -> None:
        """Kill and reap the helper, and close its pipes."""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None


def _request(template: str) -> dict[str, Any]:
    # str(): msgspec takes no subclass of it.
    return {"template": str(template), "python": isinstance(template, PythonTemplate)}


def _too_slow() -> dict[str, Any]:
    return {"error": f"it took more than {RENDER_SECONDS:g} s and was stopped"}


def _unavailable(what: str) -> WireError:
    return WireError(
        "unavailable",
        f"{_DOING}: it {what}; send the request again, a new process is started for it. If it fails "
        "again, give the worker more processes, memory or time",
    )
