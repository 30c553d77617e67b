"""Each target finds what it is for: one guard at a time is taken out, and something is found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from mlxwire.errors import MlxwireError
from mlxwire.requests.pending import PendingRequest
from mlxwire.requests.stream_request import ItemRequest
from mlxwire_protocol import LineSplitter, WireError, WorkerConnection
from mlxwire_protocol import connection as worker_end
from mlxwire_protocol.client_connection import ClientConnection
from mlxwire_protocol.request_state import RequestState
from mlxwire_worker.operations.operation import Operation
from mlxwire_worker.requests.ledger import Ledger
from mlxwire_worker.scheduling.lanes import SequencesLane
from mlxwire_worker.scheduling.scheduler import Scheduler

from .cases import failure_of
from .targets import TARGETS

MOST_CASES = 3_000
Break = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: object, **__: object) -> None:
    """Do nothing, in the place of a guard."""


def a_carriage_return_ends_a_line(patch: pytest.MonkeyPatch) -> None:
    feed = LineSplitter.feed
    patch.setattr(
        LineSplitter, "feed", lambda self, chunk: feed(self, chunk.replace(b"\r", b"\n"))
    )


def a_long_line_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LineSplitter, "_hold", lambda self, piece: self._tail.extend(piece))


def each_chunk_ends_a_line(patch: pytest.MonkeyPatch) -> None:
    feed = LineSplitter.feed
    patch.setattr(LineSplitter, "feed", lambda self, chunk: feed(self, chunk + b"\n"))


def any_id_is_valid(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker_end, "valid_id", lambda _value: True)


def numbers_that_are_none_are_read(patch: pytest.MonkeyPatch) -> None:
    def lenient(line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError:
            raise WireError("parse_error", "x") from None
        if not isinstance(value, dict):
            raise WireError("invalid_request", "x")
        return value

    patch.setattr(worker_end, "parse_object", lenient)
    patch.setattr("fuzz.messages.parse_object", lenient)


def an_id_may_be_used_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerConnection, "is_known", lambda _self, _id: "unknown")


def a_request_may_end_twice(patch: pytest.MonkeyPatch) -> None:
    def end(self: Ledger, _job: Any, final: Any) -> bool:
        self._writer.put(self._connection.encode_reply(final))
        return True

    patch.setattr(Ledger, "end", end)


def a_cancel_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_drop_ended", nothing)


def an_end_leaves_the_engine_its_sequence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SequencesLane, "_remove", nothing)


def a_bad_option_is_raised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Operation, "make_ready", lambda self: self.prepare())


def a_violation_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ClientConnection,
        "_violation",
        lambda _self, what: WireError("protocol_violation", what),
    )


def gaps_are_let_through(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestState, "_check_seq", nothing)


def an_id_is_not_looked_up(patch: pytest.MonkeyPatch) -> None:
    receive_line = ClientConnection.receive_line

    def anything(self: ClientConnection, line: Any) -> Any:
        self._pending.setdefault("r9", RequestState("r9"))
        return receive_line(self, line)

    patch.setattr(ClientConnection, "receive_line", anything)


def a_death_is_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PendingRequest, "fail", nothing)


def an_item_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ItemRequest, "take_part", lambda self, message: self.push(message["index"] + 1)
    )


def another_exception_ends_a_request(patch: pytest.MonkeyPatch) -> None:
    fail = PendingRequest.fail

    def other(self: PendingRequest, error: MlxwireError) -> None:
        fail(self, KeyError(str(error)))  # type: ignore[arg-type]

    patch.setattr(PendingRequest, "fail", other)


def an_offence_is_raised(patch: pytest.MonkeyPatch) -> None:
    def raised(error: WireError, **_: object) -> None:
        raise error

    patch.setattr("mlxwire.connection.connection.offended", raised)


BREAKS: list[tuple[str, Break]] = [
    ("framing", a_carriage_return_ends_a_line),
    ("framing", a_long_line_is_kept),
    ("framing", each_chunk_ends_a_line),
    ("messages", any_id_is_valid),
    ("messages", numbers_that_are_none_are_read),
    ("worker", an_id_may_be_used_twice),
    ("worker", a_request_may_end_twice),
    ("worker", a_cancel_is_forgotten),
    ("worker", an_end_leaves_the_engine_its_sequence),
    ("worker", a_bad_option_is_raised),
    ("replies", a_violation_is_forgotten),
    ("replies", gaps_are_let_through),
    ("replies", an_id_is_not_looked_up),
    ("client", a_death_is_not_told),
    ("client", an_item_is_not_checked),
    ("client", another_exception_ends_a_request),
    ("client", an_offence_is_raised),
]


@pytest.mark.parametrize(
    ("name", "broken"), BREAKS, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_guard_that_is_missing_is_found(
    name: str, broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    dice = random.Random(1)

    with closing(TARGETS[name]()) as target:
        cases = (target.make(dice) for _ in range(MOST_CASES))
        assert any(failure_of(target, case) for case in cases)


def test_every_target_has_been_seen_to_fail() -> None:
    assert {name for name, _ in BREAKS} == TARGETS.keys()
