"""Workers without processes, for tests in virtual time: each spawn makes a `FakeProcess`."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import orjson
import pytest

import mlxwire
from mlxwire.process.process import ProcessListener
from mlxwire.process.stderr_ring import StderrRing
from mlxwire_protocol.results import LoadResult, MemoryResult

Fate = Literal["good", "no spawn", "dies at hello", "dies at load", "no model", "silent"]
HELLO = {
    "type": "result",
    "final": True,
    "protocol": 1,
    "worker": {"name": "memory", "version": "1", "pid": 1, "engine": "mock"},
    "limits": {"max_line_bytes": 16777216, "max_inflight": 64},
}
LOADED = LoadResult(
    id="load",
    model_type="memory",
    vocab_size=8,
    layers=1,
    hidden_size=8,
    context_len=128,
    quant_bits=0,
    quant_group=0,
    parameters=0,
    weight_bytes=0,
    path="memory",
    adapter_path=None,
    chat_template=True,
    parallel_slots=4,
    capabilities={},
)
LOAD_RESULT = msgspec.to_builtins({"type": "result", **msgspec.structs.asdict(LOADED)})
del LOAD_RESULT["id"]
DONE = {
    "type": "done",
    "final": True,
    "done": True,
    "finish_reason": "stop",
    "tokens_generated": 1,
    "metrics": {},
}
NO_BYTES = dict.fromkeys(set(MemoryResult.__struct_fields__) - {"id", "ok", "type", "final"}, 0)


class FakeProcess:
    """Stands where `WorkerProcess` does. Answers all but `generate` and `chat` by itself."""

    def __init__(
        self,
        listener: ProcessListener,
        stderr: StderrRing,
        *,
        fate: Fate = "good",
        pid: int = 1,
        weight_bytes: int = 0,
    ) -> None:
        self.pid = pid
        self.fate = fate
        self.returncode: int | None = None
        self.requests: list[dict[str, Any]] = []
        self.loads: list[dict[str, Any]] = []
        self.signals: list[signal.Signals] = []
        self.answers = True
        """True to answer `generate` and `chat` too, with one token."""
        self.quit_seconds = 0.0
        """Seconds from the request `quit` to the exit."""
        self.heartbeats = True
        """True to grant the event; the test sends the heartbeats."""
        self.refuses: dict[str, dict[str, Any]] = {}
        """The errors that commands are answered with."""
        self.figures: dict[str, float] = {}
        """The fields of `metrics` and `memory` that are not 0."""
        self.held: set[str] = set()
        """Commands that the test answers."""
        self._weight_bytes = weight_bytes
        self._listener = listener
        self._stderr = stderr
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._exited = asyncio.Event()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def write(self, line: bytes) -> None:
        request = orjson.loads(line)
        self.requests.append(request)
        self._arrived.set()
        self._loop.call_soon(self._answer, request)

    def reply(self, request_id: str | None, **fields: Any) -> None:
        if self.alive:
            self._listener.stdout_received(orjson.dumps({"id": request_id, **fields}) + b"\n")

    def token(self, request: dict[str, Any], seq: int = 0) -> None:
        self.reply(request["id"], type="token", seq=seq, token="t", token_id=1)

    def done(self, request: dict[str, Any]) -> None:
        self.reply(request["id"], **DONE)

    def beat(self, phase: str, steps: int, age: float = 0.0) -> None:
        data = {"phase": phase, "steps": steps, "last_step_seconds": age}
        self.reply(None, type="event", event="heartbeat", data=data)

    def die(self, returncode: int = -signal.SIGKILL, last_words: str = "") -> None:
        """Exit, and tell the listener as the system would."""
        if self.alive:
            self._stderr.feed(last_words.encode())
            self.returncode = returncode
            self._exited.set()
            self._listener.process_exited(returncode)

    def close_stdin(self) -> None:
        pass

    def signal_group(self, number: signal.Signals) -> None:
        self.signals.append(number)
        self.die(-number)

    async def wait(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        pass

    def answer_load(self, request: dict[str, Any]) -> None:
        """Answer a `load` or `info` with the model's facts."""
        fields = {name: getattr(LOADED, name) for name in LoadResult.__struct_fields__}
        fields |= {"path": request.get("path", ""), "weight_bytes": self._weight_bytes}
        del fields["id"]
        self.reply(request["id"], type="result", **fields)

    async def request(self, command: str) -> dict[str, Any]:
        """Wait for the first request with that command; remove it and return it."""
        while True:
            for request in self.requests:
                if request["cmd"] == command:
                    self.requests.remove(request)
                    return request
            self._arrived.clear()
            await self._arrived.wait()

    def _answer(self, request: dict[str, Any]) -> None:
        match request["cmd"]:
            case command if command in self.held:
                pass
            case command if command in self.refuses:
                error = self.refuses[command]
                self.reply(request["id"], type="error", final=True, error=error)
            case "hello" if self.fate == "dies at hello":
                self.die(7, "no such engine\n")
            case "hello" if self.fate != "silent":
                events = request["events"] if self.heartbeats else []
                self.reply(request["id"], **HELLO, capabilities={}, events=events)
            case "load" if self.fate == "dies at load":
                self.die(-signal.SIGSEGV, "bad weights\n")
            case "load" if self.fate == "no model":
                body = {"code": "model_not_found", "message": "no such folder"}
                self.reply(request["id"], type="error", final=True, error=body)
            case "load":
                self.loads.append(request)
                self.answer_load(request)
            case "memory":
                self.reply(request["id"], type="result", final=True, **NO_BYTES | self.figures)
            case "metrics":
                self.reply(request["id"], type="result", final=True, **self.figures)
            case "cancel":
                self.reply(request["id"], type="result", final=True, outcome="accepted")
            case "generate" | "chat" if self.answers:
                self.token(request)
                self.done(request)
            case "info":
                self.answer_load(request)
            case "unload":
                self.reply(request["id"], type="result", final=True, ok=True)
            case "quit":
                self.reply(request["id"], type="result", final=True, ok=True)
                self._loop.call_later(self.quit_seconds, self.die, 0)


class Processes:
    """All that were spawned, oldest first, and the fates of those to come (then ``good``)."""

    def __init__(self) -> None:
        self.all: list[FakeProcess] = []
        self.fates: deque[Fate] = deque()
        self.weight_bytes = 0
        """The description of its model that each later process gives."""
        self.on_spawn: Callable[[FakeProcess], None] = lambda _: None

    @property
    def last(self) -> FakeProcess:
        return self.all[-1]

    def hold_requests(self) -> None:
        """Let no process to come answer `generate` and `chat`."""
        self.on_spawn = lambda process: setattr(process, "answers", False)

    def spawn(
        self,
        _loop: asyncio.AbstractEventLoop,
        _command: list[str],
        *,
        stderr: StderrRing,
        listener: ProcessListener,
        **_: object,
    ) -> FakeProcess:
        fate = self.fates.popleft() if self.fates else "good"
        if fate == "no spawn":
            raise mlxwire.SpawnFailed("no such program")
        process = FakeProcess(
            listener,
            stderr,
            fate=fate,
            pid=1000 + len(self.all),
            weight_bytes=self.weight_bytes,
        )
        self.all.append(process)
        self.on_spawn(process)
        return process


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Let every worker of the test be a `FakeProcess`; return the list of them."""
    made = Processes()
    monkeypatch.setattr("mlxwire.connection.connection.WorkerProcess", made.spawn)
    return made
