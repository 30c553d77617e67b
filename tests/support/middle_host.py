"""A host between the test and the worker, to be killed: prints the worker's pid, then waits.

    middle_host.py own    its own pipes to the worker; what it is told on stdin it hands on
    middle_host.py lend   the worker gets this process's own stdin and stdout

With `own` it never reads the worker's answers, unless told to by `--read`, when it hands them on.
"""

import os
import subprocess
import sys
import threading


def main() -> None:
    mode, *arguments = sys.argv[1:]
    reading = "--read" in arguments
    command = [sys.executable, "-P", "-m", "mlxwire_worker"]
    command += [argument for argument in arguments if argument != "--read"]
    if mode == "lend":
        worker = subprocess.Popen(command)
        print(worker.pid, file=sys.stderr, flush=True)
        worker.wait()
        return
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(worker.pid, file=sys.stderr, flush=True)
    if reading:
        threading.Thread(target=hand_on, args=(worker.stdout.fileno(), 1), daemon=True).start()
    hand_on(0, worker.stdin.fileno())
    threading.Event().wait()


def hand_on(source: int, sink: int) -> None:
    while chunk := os.read(source, 1 << 16):
        view = memoryview(chunk)
        while view:
            view = view[os.write(sink, view) :]


if __name__ == "__main__":
    main()
