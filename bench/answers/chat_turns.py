"""Tokens and seconds of prefill in a chat of ten turns, and in chats that share a part with it.

    python -m bench.answers.chat_turns [--model DIRECTORY] [--turns 10] [--words 150]

Each request is sent without the prompt cache and with it. After the turns the cache is emptied, and the
chat comes whole, as after a restart; then with an edit in its middle, and another chat with its system
prompt. Without `--model` the model has random
weights and recurrent layers beside attention, in the shape of Qwen3-Next: its caches can't be cut.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from typing import Any

from bench.common.host import Host

WORDS = ("cat", "dog", "king", "ship", "tree", "bear", "sad", "happy", "small", "old")


def measured(host: Host, name: str, messages: list[dict[str, str]]) -> str:
    """Print one request's tokens and seconds of prefill; return its answer."""
    fields: dict[str, Any] = {
        "messages": messages,
        "max_tokens": 24,
        "temperature": 1,
        "seed": 1,
    }
    plain = host.ask("chat", **fields, cache=False)["metrics"]
    text, request = "", host.send("chat", **fields)
    while not (message := host.read()).get("final"):
        text += message.get("text") or ""
    metrics = message["metrics"]
    computed = metrics["prompt_tokens"] - metrics["cached_tokens"]
    assert message["id"] == request
    print(
        f"{name:>16} {metrics['prompt_tokens']:8} {computed:10} {plain['prefill_seconds']:14.3f} "
        f"{metrics['prefill_seconds']:12.3f}   {metrics['cache_miss'] or ''}"
    )
    return text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--words", type=int, default=150)
    given = parser.parse_args()
    dice = random.Random(1)

    def said(role: str) -> dict[str, str]:
        return {"role": role, "content": " ".join(dice.choices(WORDS, k=given.words))}

    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            arguments = [
                "-m",
                "bench.common.make_model",
                folder,
                "--shape",
                "qwen3_next",
                "--layers",
                "8",
            ]
            subprocess.run([sys.executable, *arguments], check=True)
        host = Host(given.model or folder)
        print(
            f"{'':>16} {'prompt':>8} {'computed':>10} {'s without':>14} {'s with':>12}   missed"
        )
        messages = [said("system")]
        for turn in range(given.turns):
            messages.append(said("user"))
            answer = measured(host, f"turn {turn + 1}", messages)
            messages.append({"role": "assistant", "content": answer})
        print(f"{host.ask('cache')['cached_bytes'] / 2**20:.1f} MiB in the prompt cache")
        host.ask("cache", action="clear")
        measured(host, "whole", messages[:-1])
        middle = messages[: given.turns // 2 * 2 + 1]
        measured(host, "edit", [*middle, said("user")])
        measured(host, "other chat", [messages[0], said("user")])
        host.ask("quit")


if __name__ == "__main__":
    main()
