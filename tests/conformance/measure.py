"""`measure.py REPORT COMMAND…`: runs the command; writes how it ended and what memory it held.

A process of its own, since the peak that a system reports for a child begins with its parent's
size at the fork.
"""

from __future__ import annotations

import json
import os
import sys

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    report, command = sys.argv[1], sys.argv[2:]
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    with open(report, "w") as file:
        code = os.waitstatus_to_exitcode(status)
        json.dump({"exit_code": code, "peak_bytes": usage.ru_maxrss * MAXRSS_UNIT}, file)


if __name__ == "__main__":
    main()
