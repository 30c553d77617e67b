"""The wire between a host and its mlxwire worker, sans-IO: `protocol/SPEC.md` in code.

`WorkerConnection` is the worker's end. The client's end, which a worker never imports, is
`client_connection.ClientConnection` and `request_state.RequestState`.
"""

from .commands import SUPPORTED_PROTOCOLS, choose_version
from .connection import WorkerConnection
from .errors import CLIENT_CODES, WORKER_CODES, ErrorCode, WireError, invalid_params
from .events import Accepted, Answer, Greeted, error_body, error_reply
from .framing import DEFAULT_MAX_LINE_BYTES, LineSplitter, Overlong

__all__ = [
    "CLIENT_CODES",
    "DEFAULT_MAX_LINE_BYTES",
    "SUPPORTED_PROTOCOLS",
    "WORKER_CODES",
    "Accepted",
    "Answer",
    "ErrorCode",
    "Greeted",
    "LineSplitter",
    "Overlong",
    "WireError",
    "WorkerConnection",
    "choose_version",
    "error_body",
    "error_reply",
    "invalid_params",
]
