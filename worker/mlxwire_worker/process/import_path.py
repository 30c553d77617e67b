"""Keeps files in the working folder from being imported as modules or run as programs.

Imports nothing but what the interpreter has loaded before: `import typing` could already run a
`typing.py` from that folder.
"""

from __future__ import annotations

import os
import sys

_VARIABLE = "PYTHONPATH"


def leave_working_folder() -> None:
    """Remove the working folder from ``sys.path``, and all but absolute folders from ``PATH``.

    Without `-P` (with `-m` and `-c`) Python puts the working folder first, and once more for each
    empty entry of ``PYTHONPATH``. A folder that this variable names is the host's choice and stays.
    MLX finds g++ by ``PATH``, where an empty or relative entry lies in the working folder too.
    """
    programs = os.environ.get("PATH", "").split(os.pathsep)
    absolute = [entry for entry in programs if os.path.isabs(entry)]
    os.environ["PATH"] = os.pathsep.join(absolute) or os.defpath  # "" would be it too
    named = os.environ.get(_VARIABLE, "").split(os.pathsep)
    entries = [entry for entry in named if entry]
    if not sys.flags.safe_path and sys.path and _is_working_folder(sys.path[0]):
        del sys.path[0]
    if len(entries) < len(named) and _VARIABLE in os.environ:
        if not any(_is_working_folder(entry) for entry in entries):
            _remove_first_working_folder()
        _set_variable(entries)


def forget_host_path() -> None:
    """Remove the entries of ``PYTHONPATH`` from ``sys.path``, and the variable itself.

    A folder that holds the worker's own packages stays in both: without it the worker and its
    helpers could not go on.
    """
    entries = [entry for entry in os.environ.get(_VARIABLE, "").split(os.pathsep) if entry]
    needed = [entry for entry in entries if _holds_worker(entry)]
    given = {os.path.abspath(entry) for entry in entries}
    kept = {os.path.abspath(entry) for entry in needed}
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in given - kept]
    _set_variable(needed)


def _remove_first_working_folder() -> None:
    for place, entry in enumerate(sys.path):
        if _is_working_folder(entry):
            del sys.path[place]
            return


def _set_variable(entries: list[str]) -> None:
    if entries:
        os.environ[_VARIABLE] = os.pathsep.join(entries)
    else:
        os.environ.pop(_VARIABLE, None)


def _is_working_folder(entry: str) -> bool:
    try:
        return entry in ("", ".") or os.path.samefile(entry, ".")
    except OSError:  # either is gone
        return False


def _holds_worker(entry: str) -> bool:
    for name in ("mlxwire_worker", "mlxwire_protocol"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and os.path.dirname(os.path.dirname(os.path.abspath(file))) == os.path.abspath(
            entry
        ):
            return True
    return False
