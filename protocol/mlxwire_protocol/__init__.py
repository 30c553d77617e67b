"""The wire between a host and its mlxwire worker, sans-IO: `protocol/SPEC.md` in code.

Both ends are built on it: `WorkerConnection` for the worker, `ClientConnection` for clients.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client_connection import (
        ClientConnection,
        EventReceived,
        ReplyReceived,
        StrayLine,
        TokenReceived,
    )
    from .connection import WorkerConnection
    from .errors import CLIENT_CODES, WORKER_CODES, ErrorCode, WireError, invalid_params
    from .events import Accepted, Answer, Greeted, error_reply
    from .framing import DEFAULT_MAX_LINE_BYTES, LineSplitter, Overlong
    from .request_state import RequestState
    from .version import SUPPORTED_PROTOCOLS, choose_version

__all__ = [
    "CLIENT_CODES",
    "DEFAULT_MAX_LINE_BYTES",
    "SUPPORTED_PROTOCOLS",
    "WORKER_CODES",
    "Accepted",
    "Answer",
    "ClientConnection",
    "ErrorCode",
    "EventReceived",
    "Greeted",
    "LineSplitter",
    "Overlong",
    "ReplyReceived",
    "RequestState",
    "StrayLine",
    "TokenReceived",
    "WireError",
    "WorkerConnection",
    "choose_version",
    "error_reply",
    "invalid_params",
]

_HOMES = {
    "CLIENT_CODES": "errors",
    "DEFAULT_MAX_LINE_BYTES": "framing",
    "SUPPORTED_PROTOCOLS": "version",
    "WORKER_CODES": "errors",
    "Accepted": "events",
    "Answer": "events",
    "ClientConnection": "client_connection",
    "ErrorCode": "errors",
    "EventReceived": "client_connection",
    "Greeted": "events",
    "LineSplitter": "framing",
    "Overlong": "framing",
    "ReplyReceived": "client_connection",
    "RequestState": "request_state",
    "StrayLine": "client_connection",
    "TokenReceived": "client_connection",
    "WireError": "errors",
    "WorkerConnection": "connection",
    "choose_version": "version",
    "error_reply": "events",
    "invalid_params": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a worker needs no client's end to start."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
