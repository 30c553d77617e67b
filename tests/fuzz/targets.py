"""All targets by name."""

from __future__ import annotations

from .cases import Target
from .client import Client
from .framing import Framing
from .messages import Messages
from .replies import Replies
from .worker import Worker

TARGETS: dict[str, type[Target]] = {
    kind.name: kind for kind in (Framing, Messages, Worker, Replies, Client)
}
