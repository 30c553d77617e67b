"""`python -P -m mlxwire_worker`: claims the wire, then imports the rest."""

from __future__ import annotations

from .process.import_path import leave_working_folder

leave_working_folder()  # before any import that is not a part of this package

import os  # noqa: E402
import sys  # noqa: E402
from typing import TYPE_CHECKING, NoReturn  # noqa: E402

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
    try:
        wire_in, wire_out = claim_wire()
    except OSError as error:  # `ulimit -n` is too small even for that
        _give_up(f"no descriptor is left for the wire ({error.strerror}); raise `ulimit -n`", 1)
    if wire_out is None:
        _give_up("stdout is closed, so nothing can be answered; give it a pipe", 3)
    try:
        _serve(arguments, wire_in, wire_out, named)
    except (OSError, MemoryError, RuntimeError) as error:  # too few threads, too little memory
        from .process.stdio import log

        log(
            f"the worker can't run ({type(error).__name__}: {error}); raise the limits of its process"
        )
        os._exit(1)  # a shutdown of Python would wait for threads


def _serve(arguments: list[str], wire_in: int, wire_out: int, named: str) -> NoReturn:
    """Parse the command line and serve; ``named`` is the host's pid as text, or empty."""
    parent = _watch(int(named) if named.isdecimal() else 0)
    # msgspec asks for typing_extensions, 4 ms, and does as well with typing (its own fallback).
    absent = sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]
    import msgspec  # noqa: F401

    if absent is None:
        del sys.modules["typing_extensions"]
    from .process.options import parse_options

    options = parse_options(arguments, named)
    if options.parent_pid != parent.pid:  # an abbreviated option named it
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


def _give_up(reason: str, code: int) -> NoReturn:
    """Say in one line on stderr why there is no worker, and exit."""
    from .process.stdio import log

    log(reason)
    sys.exit(code)


def _print_and_exit(arguments: list[str]) -> NoReturn:
    """Print the help, version or schema to stdout, not the wire yet; exit 3 if that fails."""
    import contextlib
    import io

    from .process.options import parse_options

    if sys.stdout is None:
        _give_up("stdout is closed, so nothing can be printed; give it a file or a terminal", 3)
    printed = io.StringIO()  # argparse ignores a failed write
    code: str | int | None = 0
    try:
        with contextlib.redirect_stdout(printed):
            parse_options(arguments)
            import orjson

            from mlxwire_protocol.schema import protocol_schema

            print(orjson.dumps(protocol_schema(), option=orjson.OPT_INDENT_2).decode())
    except SystemExit as ended:  # 0 after help or version, 2 after a wrong option
        code = ended.code
    try:
        sys.stdout.write(printed.getvalue())
        sys.stdout.flush()
    except OSError as error:
        from .process.stdio import log

        log(f"stdout can't be written to ({error.strerror})")
        os._exit(3)  # Python would flush it once more
    sys.exit(code)


if __name__ == "__main__":
    main()
