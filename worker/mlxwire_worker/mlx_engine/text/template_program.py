"""Renders chat templates in a process of its own, because a template is an untrusted program.

The process reads one JSON object per line from stdin and writes one to stdout. It limits its memory
and processor time; the worker (`template_process.py`) limits the wall clock and kills it. The end
of stdin ends it, also during a render. The Jinja environment follows transformers'.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from jinja2 import TemplateError

from ..conversation.boundaries import find_boundaries
from .chat_environment import make_environment

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 20
MAX_OUTPUT_CHARS = 16 << 20
"""The longest accepted text: more than any context holds, at about 200 bytes to encode each."""
MAX_ERROR_CHARS = 1000
_SCHEMAS = "transformers.utils.chat_template_utils"
_OF_PYTHON = ("messages", "add_generation_prompt", "enable_thinking", "tools")
"""Variables of templates in Python; they refuse names that they do not know."""


MOST_COMPILED = 2
"""The templates that are kept: of a model's chats, and of its chats with tools."""


class Renderer:
    """Renders templates, and compiles a template only if it was not among the last ones."""

    def __init__(self) -> None:
        self._environment = make_environment()
        self._compiled: dict[str, Callable[..., str]] = {}

    def _compile(self, source: str, *, python: bool) -> Callable[..., str]:
        if not python:
            return self._environment.from_string(source).render
        # mlx-lm's own module: it needs one function of transformers, for tools that are functions.
        for name in ("transformers", "transformers.utils", _SCHEMAS):
            sys.modules.setdefault(name, types.ModuleType(name))
        sys.modules[_SCHEMAS].get_json_schema = None  # type: ignore[attr-defined]
        module: dict[str, Any] = {"__name__": "chat_template"}
        exec(compile(source, "chat_template", "exec"), module)
        return lambda **variables: module["apply_chat_template"](
            **{name: variables[name] for name in _OF_PYTHON if variables.get(name) is not None}
        )

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request.

        ``{"text": …}`` for a render, ``{"ends": …, "opens": …}`` for the boundaries of a text,
        ``{"ok": true}`` for a compile, ``{"error": …}``.
        """
        try:
            source = request["template"]
            self._environment.mark = ""
            template = self._compiled.get(source)
            if template is None:
                template = self._compile(source, python=request.get("python", False))
                if len(self._compiled) >= MOST_COMPILED:
                    del self._compiled[next(iter(self._compiled))]
                self._compiled[source] = template
            if "variables" not in request:
                return {"ok": True}
            self._environment.mark = request.get("mark", "")
            variables = request["variables"]
            if "text" in request:
                return self._boundaries(template, request)
            text = template(**variables)
        except TemplateError as error:
            return {"error": (error.message or type(error).__name__)[:MAX_ERROR_CHARS]}
        except Exception as error:  # a template may raise anything that Python can
            return {"error": f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]}
        if len(text) > MAX_OUTPUT_CHARS:
            return {
                "error": f"its text has {len(text)} characters; at most {MAX_OUTPUT_CHARS} are accepted"
            }
        return {"text": text}

    @staticmethod
    def _boundaries(template: Callable[..., str], request: dict[str, Any]) -> dict[str, Any]:
        """Return where the first ``counts`` turns of a conversation end in its ``text``."""
        variables = request["variables"]

        def render(turns: list[dict[str, Any]], asks: bool) -> str | None:
            try:
                return template(
                    **{**variables, "messages": turns, "add_generation_prompt": asks}
                )
            except Exception:  # a template refuses what it was not written for
                return None

        found = find_boundaries(
            request["text"],
            variables["messages"],
            request["counts"],
            asks=variables["add_generation_prompt"],
            render=render,
            seconds=request["seconds"],
        )
        return found._asdict()


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
