"""The worker's end of the template process: asks, waits a bounded time, kills and starts anew."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import orjson

from mlxwire_protocol import WireError

from ...process.environment import kept

RENDER_SECONDS = 5.0
START_SECONDS = 20.0
END_SECONDS = 5.0
_OWN_DEATHS = frozenset({signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS})
"""What a template that uses too much time, memory or stack dies of; other signals are sent."""


class TemplateProcess:
    """A helper that renders chat templates. Calls are serialised; any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._warm = False

    def start(self) -> None:
        """Spawn the helper ahead of its first use; it imports while the model loads."""
        with self._lock:
            self._ensure()

    def check(self, template: str) -> None:
        """Compile a template.

        Raises: WireError ``model_load_failed``, or ``internal`` where the helper was killed.
        """
        answer = self._ask({"template": template})
        if "error" in answer:
            raise WireError(
                "model_load_failed",
                f"the chat template does not compile: {answer['error']}. Mend "
                "chat_template.jinja (or chat_template in tokenizer_config.json), or remove it",
                data={"reason": "chat_template"},
            )

    def render(self, template: str, variables: dict[str, Any]) -> str:
        """The conversation as the model's text.

        Raises: WireError ``invalid_params`` for field ``messages`` where the template refuses,
        ``internal`` where the helper was killed.
        """
        answer = self._ask({"template": template, "variables": variables})
        if "error" in answer:
            raise WireError(
                "invalid_params",
                f"the model's chat template refuses these messages: {answer['error']}",
                data={"field": "messages"},
            )
        text: str = answer["text"]
        return text

    def close(self) -> None:
        """End the helper."""
        process = self._process
        if process is not None:
            process.kill()  # also ends a render that holds the lock
        with self._lock:
            if self._process is not None:
                self._discard(self._process)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            process = self._ensure()
            limit = RENDER_SECONDS if self._warm else START_SECONDS
            try:
                line = _exchange(process, orjson.dumps(request) + b"\n", limit)
            except TimeoutError:
                self._discard(process)
                return {"error": f"it took more than {limit:g} s and was stopped"}
            except OSError:
                self._end(process)
                return {"error": "it used too much memory or time and was stopped"}
            self._warm = True
        try:
            answer: dict[str, Any] = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {"error": "it renders half a character, an unpaired surrogate"}
        return answer

    def _ensure(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._discard(self._process)
        if self._process is None:
            self._warm = False
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.template_program"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=kept(os.environ),
            )
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """See a helper off that has left in the middle.

        Raises: WireError ``internal`` where the template can't have been the cause.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        code = process.returncode
        self._discard(process)
        if code is not None and code <= 0 and -code not in _OWN_DEATHS:
            raise WireError(
                "internal",
                "the process that renders chat templates was killed from outside; ask again, "
                "another one takes its place",
                retryable=True,
            )

    def _discard(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the helper and give its pipes back."""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None


def _exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes:
    """Write one line and read one, within a time; neither side may block the other."""
    assert process.stdin is not None
    assert process.stdout is not None
    sink, source = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(sink, False)
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(sink, select.POLLOUT)
    poll.register(source, select.POLLIN)
    unsent = memoryview(request)
    received = bytearray()
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        ready = dict(poll.poll(max(left, 0) * 1000))
        if left <= 0 and not ready:
            raise TimeoutError
        if source in ready:
            chunk = os.read(source, 1 << 18)
            if not chunk:
                raise BrokenPipeError("the template process ended")
            received += chunk
        elif sink in ready:
            unsent = unsent[os.write(sink, unsent[: 1 << 16]) :]
            if not unsent:
                poll.unregister(sink)
    return bytes(received)
