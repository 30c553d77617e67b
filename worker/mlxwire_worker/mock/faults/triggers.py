"""Counts messages and returns the faults that are due at each."""

from __future__ import annotations

from collections import Counter

from ...process.stdio import log
from .dialogue import Request
from .script import Fault, FaultScript, HeardFault, ProcessFault, ReplyFault, names_no_message


class Triggers:
    """The faults of a script, and how many messages each has matched so far."""

    def __init__(self, script: FaultScript) -> None:
        self._at_once: list[ReplyFault] = []
        self._replies: list[ReplyFault] = []
        self._requests: list[HeardFault] = []
        self._seen: Counter[int] = Counter()
        for fault in script.faults:
            if isinstance(fault, HeardFault):
                self._requests.append(fault)
            elif isinstance(fault, ProcessFault) and names_no_message(fault):
                self._at_once.append(fault)
            else:
                self._replies.append(fault)

    def at_once(self) -> list[ReplyFault]:
        """Return the faults to apply before the first request is read, and log them."""
        for fault in self._at_once:
            _tell(fault, "start")
        return self._at_once

    def of_reply(self, request: Request, kind: str) -> list[ReplyFault]:
        """Return the faults that are due at this reply, in the script's order."""
        return [fault for fault in self._replies if self._is_due(fault, request, kind)]

    def of_request(self, request: Request) -> list[HeardFault]:
        """Return the faults that are due at this request, in the script's order."""
        return [fault for fault in self._requests if self._is_due(fault, request, None)]

    def _is_due(self, fault: Fault, request: Request, kind: str | None) -> bool:
        fits = (
            fault.phase == request.phase
            and fault.command in (None, request.command)
            and fault.id in (None, request.id)
            and fault.type in (None, kind)
        )
        if not fits:
            return False
        self._seen[id(fault)] += 1
        if self._seen[id(fault)] != fault.nth:
            return False
        _tell(fault, f"{kind or 'request'} {fault.nth} of {request.command}")
        return True


def _tell(fault: Fault, when: str) -> None:
    """Log that a fault is applied, so that the script's author sees that it was reached."""
    log(f"fault {fault.__struct_config__.tag}, at {when}")
