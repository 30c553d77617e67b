"""A host that forks after it has started a worker: its child keeps the pipes open when it ends.

    forking_host.py now|later COMMAND…

Prints the pids of the command and of the child, and ends: at once, or at the first byte on stdin.
The command gets the host's pid for each `HOST` in its arguments.
"""

import os
import signal
import subprocess
import sys


def main() -> None:
    when, *command = sys.argv[1:]
    named = [word.replace("HOST", str(os.getpid())) for word in command]
    worker = subprocess.Popen(named, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    keeper = os.fork()
    if not keeper:
        os.close(0)
        os.close(1)
        signal.pause()
    assert worker.stdin is not None
    assert worker.stdout is not None
    if when == "later":
        worker.stdin.write(b'{"id":"h","cmd":"hello","protocols":[1]}\n')
        worker.stdout.read(1)
    print(worker.pid, keeper, flush=True)
    if when == "later":
        os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    main()
