"""A worker that starts warm: chats whose turns compute what is new, also after a restart."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from support.conversation import Message
from support.driver import Driver
from support.tiny_model import TINY

QUESTIONS = [
    "My name is Ana.",
    "What is 47 + 38?",
    "Reverse the word: stone",
    "What day comes after Monday?",
    "Sort the digits: 52341",
    "What is the capital of France?",
    "What is 12 + 5?",
    "Hello",
    "What is 3 + 4?",
    "What is my name?",
]
ANSWERS = {1: "85", 2: "enots", 3: "Tuesday", 4: "12345", 6: "17", 8: "7"}


class Chat:
    """A conversation that goes on from turn to turn, and from worker to worker."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        self.finals: list[Message] = []
        self.replies: list[str] = []

    def turn(self, worker: Driver) -> None:
        question = QUESTIONS[len(self.replies)]
        self.messages.append({"role": "user", "content": question})
        request = worker.send("chat", messages=self.messages, max_tokens=60)
        self.finals.append(worker.final(request))
        self.replies.append(worker.text(request))
        self.messages.append({"role": "assistant", "content": self.replies[-1]})

    def check_last(self) -> None:
        """Check that the turn computed only the tokens that it added to the conversation.

        The stop token of the reply before it is one of the tokens that were there already.
        """
        metrics = self.finals[-1]["metrics"]
        computed = metrics["prompt_tokens"] - metrics["cached_tokens"]
        turn = len(self.finals) - 1
        before = self.finals[turn - 1]["metrics"] if turn else None
        old = before["prompt_tokens"] + before["generated_tokens"] + 1 if before else 0
        assert computed == metrics["prompt_tokens"] - old, turn
        if turn:
            assert metrics["cache_miss"] is None
        assert self.replies[turn] == ANSWERS.get(turn, self.replies[turn])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    workers: list[Driver] = []

    def starts(path: Path = TINY, **load: Any) -> Driver:
        workers.append(Driver("--data-root", str(tmp_path)))
        workers[-1].hello()
        workers[-1].load(str(path), warmup=False, **load)
        return workers[-1]

    yield starts
    for worker in workers:
        worker.close()


def test_ten_turns_compute_their_own_text_alone_also_after_a_restart(
    start: Callable[..., Driver], tmp_path: Path
) -> None:
    file = tmp_path / "caches" / "chat.safetensors"
    worker, chat = start(), Chat()
    for turn in range(10):
        if turn == 5:
            saved = worker.ask("cache", action="save", path=str(file))
            assert saved["affected"] == saved["entries"] == 1
            worker.close()
            worker = start()
            loaded = worker.ask("cache", action="load", path=str(file))
            assert (loaded["affected"], loaded["entries"]) == (1, 1)
            assert loaded["cached_bytes"] > 0
        chat.turn(worker)
        chat.check_last()

    assert "Ana" in chat.replies[-1]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_warmed_prefix_is_there_for_every_later_request(start: Callable[..., Driver]) -> None:
    worker = start()
    system = {"role": "system", "content": "You are a small model that answers in a word."}
    hello = {"role": "user", "content": "Hello"}
    warmed = worker.ask("cache", action="warm", messages=[system, hello])
    assert warmed["entries"] == 1

    done = worker.ask("chat", messages=[system, hello], max_tokens=4)

    assert done["metrics"]["prompt_tokens"] - done["metrics"]["cached_tokens"] == 1
    assert warmed["affected"] == done["metrics"]["prompt_tokens"]
    assert worker.ask("cache", action="clear")["affected"] >= 1
    assert worker.ask("cache")["entries"] == 0


def other_weights(path: Path) -> Path:
    """Return a copy of the model with one number changed in the middle of its weights."""
    shutil.copytree(TINY, path)
    file = path / "model.safetensors"
    raw = bytearray(file.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 4096] = bytes(4096)
    file.write_bytes(raw)
    return path


def other_template(path: Path) -> Path:
    shutil.copytree(TINY, path)
    with (path / "chat_template.jinja").open("a") as file:
        file.write("{# other #}")
    return path


@pytest.mark.timeout(60)
def test_a_cache_of_anything_else_is_refused_and_changes_nothing(
    start: Callable[..., Driver], tmp_path: Path
) -> None:
    file = tmp_path / "saved.safetensors"
    worker = start()
    worker.ask("generate", prompt="Tell me a story about a cat. " * 9, max_tokens=3)
    worker.ask("cache", action="save", path=str(file))

    different: list[tuple[str, dict[str, Any]]] = [
        (str(other_weights(tmp_path / "w")), {}),
        (str(other_template(tmp_path / "t")), {}),
        (str(TINY), {"kv_bits": 8, "kv_group_size": 32}),
        (str(TINY), {"context_policy": "rotate", "context_len": 512}),
    ]
    for path, options in different:
        worker.load(path, warmup=False, **options)
        error = worker.ask("cache", action="load", path=str(file))["error"]
        assert error["code"] == "invalid_params"
        assert error["data"]["field"] == "path"
        assert "another model" in error["message"]
        assert worker.ask("cache")["entries"] == 0

    worker.load(str(TINY), warmup=False)
    assert worker.ask("cache", action="load", path=str(file))["affected"] == 1
    check_damaged_files(worker, file, tmp_path)


def check_damaged_files(worker: Driver, file: Path, folder: Path) -> None:
    """Check that each kind of damage is a typed error that leaves the cache as it was."""
    worker.ask("cache", action="clear")
    raw = file.read_bytes()
    damaged = folder / "damaged.safetensors"
    plain = {"0.tokens": mx.array([1])}
    kinds: list[Callable[[], object]] = [
        lambda: damaged.write_bytes(raw[: len(raw) // 2]),
        lambda: damaged.write_bytes(b""),
        lambda: damaged.write_bytes(b"no safetensors at all " * 50),
        lambda: damaged.write_bytes(raw[:8] + b"x" * 40 + raw[48:]),
        lambda: damaged.write_bytes(raw[:-9] + b"x" * 9),
        lambda: mx.save_safetensors(str(damaged), plain),
        lambda: mx.save_safetensors(str(damaged), plain, {"format": "mlxwire-prompt-cache-1"}),
        lambda: damaged.unlink(),
    ]
    for number, damage in enumerate(kinds):
        damage()
        final = worker.ask("cache", action="load", path=str(damaged))
        assert final["type"] == "error", number
        assert final["error"]["code"] == "invalid_params", (number, final)
        assert worker.ask("cache")["entries"] == 0, number
    assert worker.ask("generate", prompt="Hello", max_tokens=2)["type"] == "done"


HANGING = """
import os, sys
synced = os.fsync
def hang(number):
    if os.path.exists(sys.argv[-1] + "/hang"):
        os.close(os.open(sys.argv[-1] + "/hang", os.O_WRONLY))  # the test waits for that
        os.read(os.pipe()[0], 1)
    synced(number)
os.fsync = hang
from mlxwire_worker.__main__ import main
main()
"""


def test_a_worker_killed_while_it_saves_leaves_the_old_file(
    start: Callable[..., Driver], tmp_path: Path
) -> None:
    file = tmp_path / "caches" / "saved.safetensors"
    worker = Driver("--data-root", str(tmp_path), command=(sys.executable, "-P", "-c", HANGING))
    with worker:
        worker.hello()
        worker.load(str(TINY), warmup=False)
        worker.ask("generate", prompt="Hello", max_tokens=2)
        worker.ask("cache", action="save", path=str(file))
        old = file.read_bytes()
        # A pipe stops the next save once all is written and the file is not in its place yet.
        os.mkfifo(tmp_path / "hang")
        worker.ask("generate", prompt="What is 1 + 2?", max_tokens=2)
        worker.send("cache", action="save", path=str(file))
        with (tmp_path / "hang").open("rb"):
            (partial,) = set(file.parent.iterdir()) - {file}
            assert partial.stat().st_size > len(old)
            worker.signal(signal.SIGKILL)
            worker.wait()

    assert file.read_bytes() == old
    again = start()
    assert again.ask("cache", action="load", path=str(file))["affected"] == 1
