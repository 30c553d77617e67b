"""Writes docs/stopping.md from the table of stopping.

`PYTHONPATH=tests .venv/bin/python -m conformance.tables.page > docs/stopping.md`
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection

from .cells import OWN
from .stopping import CAUSES, COMMANDS, PHASES, SECOND_PASSES, Ending, due, due_collected

PAGE = "docs/stopping.md"
INTRODUCTION = f"""\
# Stopping

Each way to stop a request has one outcome in each phase, and this outcome is the same in the Python, Go and TypeScript clients. This page
is generated from the table in `tests/conformance/tables/stopping.py`, and a test checks that the two agree. [The conformance
kit](../tests/conformance/README.md) tries every cell of the table with all three clients.

The rules:

- An iteration ends without an error in two cases only: the worker has completed the request, or the consumer itself has left the loop.
- A cut that comes before the final reply raises an error. It is the caller's own error if the caller's signal, context or task cut the
  request. It is `cancelled` if the stream's own cancel, or another call, cut it. It is `worker_crashed` if the process was restarted or
  has died.
- The stream's own cancel and the caller's signal, context or task drop the replies that wait in the buffer. Before the error of any other
  cut, the consumer gets these replies.
- If the cut comes after the final reply, the consumer gets all replies, and the iteration ends well. Here too, the stream's own cancel and
  the caller's signal, context or task drop the replies that wait in the buffer, and raise their error.
- A stream can be iterated once. A second iteration over it raises an error.

The phases are: **{PHASES["before"]}**, the request has not been sent; **{PHASES["waiting"]}**, the consumer has taken all replies and
waits for the next; **{PHASES["busy"]}**, the consumer does something else and replies wait in the buffer; **worker finished**, the client
has received the final reply, and the last replies are still in the buffer. *Is served* and *ends well* mean that all replies come, without
an error.
"""
NOTES = """\
The stream's own cancel is `aclose` in Python, `Close` in Go and `cancel` in TypeScript. Go has no call that restarts a worker: its cell is
a worker that is killed and started again by its restart policy. In the other two `worker.restart` first gives requests in flight 30 seconds
to end; the cells are those of a restart without this time (`drain=0`, `restart(0)`). SIGKILL is without a restart policy. Closing a model unloads it, and an
unload waits for the requests before it ([SPEC §4.2](../protocol/SPEC.md#42-unload)), so it cuts none of them.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            INTRODUCTION,
            f"## {', '.join(f'`{command}`' for command in COMMANDS)}\n",
            "`score` and `discover` are streams like `embed`.\n",
            *_table(PHASES, due),
            f"\n{NOTES}",
            "## Calls that read a stream to its end\n",
            "`text` and `results` in Python, `text` and `items` in TypeScript, `Text`, `BatchGenerate` "
            "and `Classify` in Go; and `await` of a\nstream with items. Once such a call has returned, "
            "nothing takes its result away.\n",
            *_table([phase for phase in PHASES if phase != "busy"], due_collected),
            "\n## A second pass\n",
            "| the stream was | iterating over it again |",
            "|---|---|",
            *(f"| {about} | an error |" for about in SECOND_PASSES.values()),
            "",
        ]
    )


def _table(phases: Collection[str], ending: Callable[[str, str], Ending]) -> list[str]:
    """Return the lines of a table with a row for each cause."""
    head = " | ".join(("the request is cut by", *(PHASES[phase] for phase in phases)))
    rule = "|" + "---|" * (len(phases) + 1)
    rows = [
        " | ".join((cause.about, *(_words(phase, ending(name, phase)) for phase in phases)))
        for name, cause in CAUSES.items()
    ]
    return [f"| {head} |", rule, *(f"| {row} |" for row in rows)]


def _words(phase: str, ending: Ending) -> str:
    if ending.outcome == "ok":
        return "is served" if phase == "before" else "ends well"
    return "the caller's own error" if ending.outcome == OWN else f"`{ending.outcome}`"


if __name__ == "__main__":
    sys.stdout.write(page())
