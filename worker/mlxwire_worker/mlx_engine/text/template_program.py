"""Renders chat templates in a process of its own, since a template is an untrusted program.

One JSON object a line on stdin, one on stdout. Memory and processor time are limited here; the
worker (`template.py`) limits the wall clock and kills. Stdin's end ends it, also amid a render.
The environment follows transformers' (`chat_template_utils.py`).
"""

from __future__ import annotations

import datetime
import json
import os
import queue
import resource
import sys
import threading
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 20
MAX_OUTPUT_CHARS = 16 << 20
"""More than any context holds; to encode a character takes some 200 bytes."""
MAX_ERROR_CHARS = 1000


class Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's text; here it is passed on."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> Node:
        """The block, called with its own body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller: Any) -> Any:
        return caller()


def make_environment() -> ImmutableSandboxedEnvironment:
    """The sandbox with what templates expect to find."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own, without HTML escapes."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


class Renderer:
    """Compiles each template once."""

    def __init__(self) -> None:
        self._environment = make_environment()
        self._source: str | None = None
        self._template: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """``{"text": …}``, ``{"ok": true}`` for a compile, or ``{"error": …}``."""
        try:
            source = request["template"]
            if source != self._source:
                self._template = self._environment.from_string(source)
                self._source = source
            if "variables" not in request:
                return {"ok": True}
            text = self._template.render(**request["variables"])
        except TemplateError as error:
            return {"error": (error.message or type(error).__name__)[:MAX_ERROR_CHARS]}
        except Exception as error:  # a template may raise anything that Python can
            return {"error": f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]}
        if len(text) > MAX_OUTPUT_CHARS:
            return {"error": f"it renders {len(text)} characters, more than {MAX_OUTPUT_CHARS}"}
        return {"text": text}


def main() -> None:
    """Answer until stdin ends."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    renderer = Renderer()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    output = sys.stdout.buffer
    while True:
        line = requests.get()
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_SECONDS)
        answer = renderer.answer(json.loads(line))
        output.write(json.dumps(answer).encode() + b"\n")
        output.flush()


def _read(requests: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(kind, (value, hard))
    except (ValueError, OSError):  # macOS refuses RLIMIT_AS; the wall clock still bounds
        return


if __name__ == "__main__":
    main()
