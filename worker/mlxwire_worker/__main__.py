"""`python -m mlxwire_worker`: claims the wire, then imports the rest."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from .process.parent import ParentWatch


def main() -> NoReturn:
    """Run a worker; exit 0 at `quit` or EOF, 3 to 5 when abandoned (SPEC §9)."""
    arguments = sys.argv[1:]
    if {"-h", "--help", "--version", "--print-schema"} & set(arguments):
        _print_and_exit(arguments)
    from .process.parent import named_host
    from .process.stdio import claim_wire

    named = named_host(arguments)
    wire_in, wire_out = claim_wire()
    parent = _watch(int(named) if named.isdecimal() else 0)
    # msgspec asks for typing_extensions, 4 ms, and does as well with typing (its own fallback).
    absent = sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]
    import msgspec  # noqa: F401

    if absent is None:
        del sys.modules["typing_extensions"]
    from .process.options import parse_options

    options = parse_options(arguments, named)
    if options.parent_pid != parent.pid:  # an abbreviated option
        parent = _watch(options.parent_pid)
    if options.scrub_env:
        from .process.environment import scrub

        scrub(options.env_allow, hub=options.allow_hub)
    if options.faults is not None:
        from .mock.faults.worker import serve_with_faults

        serve_with_faults(options, options.faults, wire_in, wire_out, parent)
    from .worker import Worker

    Worker(options, wire_in, wire_out, parent).run()


def _watch(pid: int) -> ParentWatch:
    """Watch the host; exit 4 if it is gone already, before the heavy imports."""
    from .process.parent import ParentWatch

    parent = ParentWatch(pid)
    if parent.is_gone():
        from .process.reader import EXIT_PARENT_GONE
        from .process.stdio import log

        log(
            f"the host, process {pid}, is gone; if the worker runs in another pid namespace than "
            "its host, start it with `--parent-pid 0`"
        )
        os._exit(EXIT_PARENT_GONE)
    return parent


def _print_and_exit(arguments: list[str]) -> NoReturn:
    """Print the help, version or schema to stdout, which is not the wire yet."""
    from .process.options import parse_options

    parse_options(arguments)
    import orjson

    from mlxwire_protocol.schema import protocol_schema

    print(orjson.dumps(protocol_schema(), option=orjson.OPT_INDENT_2).decode())
    sys.exit(0)


if __name__ == "__main__":
    main()
