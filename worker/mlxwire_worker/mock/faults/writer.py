"""A writer with faults: every reply passes through it on the way to the pipe."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import orjson

from ...process.stdio import log
from ...process.writer import Writer
from .cancels import Cancels
from .dialogue import Dialogue
from .edits import Edit
from .process import die
from .script import Crash, Exit, LineEnd, ProcessFault, ReplyFault, Silent, Split, Stall, Write
from .triggers import Triggers

FLUSH_SECONDS = 60.0
"""The longest time to wait until the lines before a fault are written."""


class FaultyWriter(Writer):
    """Applies the faults of each reply and writes the result, in the order of the replies.

    All methods are called under the session's lock, so a fault that takes time blocks the
    worker.
    """

    def __init__(
        self,
        fd: int,
        *,
        on_broken: Callable[[], None],
        on_room: Callable[[], None],
        dialogue: Dialogue,
        triggers: Triggers,
        cancels: Cancels,
        on_process_fault: Callable[[ProcessFault], None],
        max_line_bytes: int,
        seed: int,
    ) -> None:
        """Create a writer that calls ``on_process_fault`` for faults outside of its output."""
        super().__init__(fd, on_broken=on_broken, on_room=on_room)
        self._break = on_broken
        self._dialogue = dialogue
        self._triggers = triggers
        self._cancels = cancels
        self._on_process_fault = on_process_fault
        self._max_line_bytes = max_line_bytes
        self._random = random.Random(seed)
        self._silent = False
        self._line_end = b"\n"
        self._split: Split | None = None
        self._sizes: Iterator[int] = iter(())
        self._messages_split = 0

    def begin(self) -> None:
        """Apply the faults that are due before the first request is read."""
        for fault in self._triggers.at_once():
            self._process_fault(fault, b"")

    def put(self, line: bytes) -> None:
        """Queue whole lines, after applying the faults of each."""
        for one in filter(None, line.split(b"\n")):
            for message in self._cancels.in_order(orjson.loads(one)):
                self._put_message(message)

    def cork(self) -> None:
        """Do nothing: the lines before a fault must be written before the fault is applied."""

    def uncork(self) -> None:
        """Do nothing, like `cork`."""

    def _put_message(self, message: dict[str, Any]) -> None:
        request = self._dialogue.answered(message)
        kind = self._dialogue.type_of(message)
        faults = self._triggers.of_reply(request, kind) if request else []
        request_id = request.id if request else ""
        edit = Edit(
            message,
            self._dialogue.next_seq(request_id),
            self._max_line_bytes,
            partial(self._dialogue.token, request_id),
        )
        try:
            for fault in faults:
                edit.apply(fault)
            for fault in faults:
                if isinstance(fault, ProcessFault):
                    self._process_fault(fault, edit.line())
            for chunk in edit.chunks():
                self._send(chunk)
        except ValueError as error:
            log(str(error))  # the script does not fit this message, which is dropped

    def _process_fault(self, fault: ReplyFault, line: bytes) -> None:
        match fault:
            case Silent():
                self._silent = True
            case Stall():
                time.sleep(fault.seconds)
            case Exit() | Crash():
                self._write_now(line[: fault.after_bytes])
                die(fault)
            case Write():
                for chunk in fault.chunks():
                    self._write_now(chunk)
            case Split():
                self._split = fault
                self._messages_split = 0
                self._sizes = self._draw(fault.up_to) if fault.up_to else cycle(fault.sizes)
            case LineEnd():
                self._line_end = fault.text.encode()
            case ProcessFault():
                self._on_process_fault(fault)

    def _draw(self, up_to: int) -> Iterator[int]:
        while True:
            yield self._random.randint(1, up_to)

    def _send(self, lines: bytes) -> None:
        if self._silent:
            return
        if self._line_end != b"\n":
            lines = lines.replace(b"\n", self._line_end)
        if self._split is None:
            super().put(lines)
            return
        view = memoryview(lines)
        while view:
            size = next(self._sizes)
            self._write_now(view[:size])
            view = view[size:]
            time.sleep(self._split.pause)
        self._messages_split += 1
        if self._messages_split == self._split.messages:
            self._split = None

    def _write_now(self, piece: bytes | memoryview) -> None:
        """Flush queued lines, then write a piece at once, before any later fault is applied."""
        self.flush(FLUSH_SECONDS)
        try:
            self._write(bytearray(piece))
        except OSError:
            self._break()
