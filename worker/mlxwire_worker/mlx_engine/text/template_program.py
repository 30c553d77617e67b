"""Renders chat templates in a process of its own, because a template is an untrusted program.

The process reads one JSON object per line from stdin and writes one to stdout. It limits its memory
and processor time; the worker (`template_process.py`) limits the wall clock and kills it. The end
of stdin ends it, also during a render. The Jinja environment follows transformers'.
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
"""The longest accepted text: more than any context holds, at about 200 bytes to encode each."""
MAX_ERROR_CHARS = 1000


class Generation(Extension):
    """Accepts `{% generation %}…{% endgeneration %}`, and renders what stands between them."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> Node:
        """Parse the block into a call that returns its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller: Any) -> Any:
        return caller()


def make_environment() -> ImmutableSandboxedEnvironment:
    """Create the sandbox with the filters and functions that chat templates expect."""
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
    """Write a value as JSON, without the HTML escapes of Jinja's own filter."""
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
    """Renders templates, and compiles a template only if it differs from the one before."""

    def __init__(self) -> None:
        self._environment = make_environment()
        self._source: str | None = None
        self._template: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request: ``{"text": …}``, ``{"ok": true}`` for a compile, ``{"error": …}``."""
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
            return {
                "error": f"its text has {len(text)} characters; at most {MAX_OUTPUT_CHARS} are accepted"
            }
        return {"text": text}


def main() -> None:
    """Answer requests until stdin ends."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    renderer = Renderer()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    output = sys.stdout.buffer
    output.write(b"\n")  # ready: an end before this line is no template's fault
    output.flush()
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
