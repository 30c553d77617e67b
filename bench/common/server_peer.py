"""mlx_lm.server beside the others, for the record: its HTTP stream, driven by a thread a request."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

START_SECONDS = 120


class ServerPeer:
    """The server process; `run` as the other peers have it."""

    def __init__(self, model_path: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        command = ["-m", "mlx_lm.server", "--model", model_path, "--port", str(self._port)]
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        config = json.loads((Path(model_path) / "config.json").read_text())
        ends = config["eos_token_id"]
        banned = ends if isinstance(ends, list) else [ends]
        self._bias = {str(token): -100 for token in banned}  # it has no `ignore_eos`
        self._wait()

    def run(self, prompts: list[str], tokens: int) -> tuple[int, float]:
        """Send all prompts at once; return the tokens counted and the seconds."""
        started = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as threads:
            counts = list(threads.map(lambda prompt: self._complete(prompt, tokens), prompts))
        return sum(counts), time.perf_counter() - started

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()

    def _complete(self, prompt: str, tokens: int) -> int:
        while True:
            try:
                return self._try_to_complete(prompt, tokens)
            except ConnectionError:  # its backlog is five connections: the others are reset
                time.sleep(0.02)

    def _try_to_complete(self, prompt: str, tokens: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "temperature": 0}
        connection.request(
            "POST",
            "/v1/completions",
            json.dumps({**body, "logit_bias": self._bias}),
            {"Content-Type": "application/json"},
        )
        lines = connection.getresponse()
        count = sum(b'"finish_reason": null' in line for line in lines)
        connection.close()
        return count

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise SystemExit("mlx_lm.server did not start") from None
                time.sleep(0.1)
