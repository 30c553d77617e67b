"""Takes the answer out of an assistant's message that holds all channels of a gpt-oss answer.

A host sends back what the model wrote, with its thoughts. The template writes the channels itself
and refuses a message that already has them; it leaves out the thoughts of earlier turns.
"""

from __future__ import annotations

import re
from typing import Any

_ANSWER = "<|channel|>final<|message|>"
_PART = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>(analysis|final)<\|message\|>"
    r"(.*?)(?:<\|end\|>|<\|return\|>|(?=<\|start\|>|<\|channel\|>)|\Z)",
    re.DOTALL,
)


def without_thoughts(messages: list[dict[str, Any]], template: str) -> list[dict[str, Any]]:
    """Return messages with the channel `final` of each answer alone, if the template is gpt-oss's."""
    if _ANSWER not in template:
        return messages
    return [
        {**message, "content": _PART.sub(_final, message["content"])}
        if message["role"] == "assistant"
        else message
        for message in messages
    ]


def _final(part: re.Match[str]) -> str:
    return part[2] if part[1] == "final" else ""
