"""A download from a hub: whole, resumed, repaired; and what each failure says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils import _http as http

from mlxwire_protocol import WireError
from mlxwire_worker.hub import pulling
from support.hub_server import COMMIT, TOKEN, Hub, checksum, serving
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

PROGRAM = [sys.executable, "-P", "-m", "mlxwire_worker.hub"]
WEIGHTS = bytes(range(256)) * (3 << 12)
PART = 5 << 19
"""Half a MiB more than two: the program writes whole MiB."""
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "pytorch_model.bin": b"pickle",
}
CHOSEN = sorted(set(FILES) - {"pytorch_model.bin"})

Pull = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(dict(FILES))) as hub:
        yield hub


def start(hub: Hub, tmp_path: Path, environment: dict[str, str], **task: Any) -> Any:
    """Start the program with a cache of its own, and give it its task."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    program = subprocess.Popen(
        PROGRAM,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**kept, "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, **environment},
    )
    assert program.stdin is not None
    program.stdin.write(json.dumps({"name": hub.name, **task}).encode() + b"\n")
    program.stdin.flush()
    return program


@pytest.fixture
def pull(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pull:
    """Return a function that downloads in this process, and returns the events."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", constants.DOWNLOAD_CHUNK_SIZE)
    monkeypatch.setattr(http, "_DEFAULT_RETRY_ON_STATUS_CODES", ())
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def pull(**task: Any) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []

        def report(stage: str, done: float, total: float) -> None:
            events.append({"stage": stage, "done": done, "total": total})

        plain = {"name": hub.name, "revision": None, "token": None, "all_files": False, **task}
        try:
            result = pulling.pull(plain.pop("name"), report=report, **plain)
        except WireError as error:
            told = {"code": error.code, "message": error.message, "data": error.data}
            return [*events, {"event": "error", "retryable": error.retryable, **told}]
        return [*events, {"event": "result", **result}]

    return pull


def repository(tmp_path: Path) -> Path:
    return tmp_path / "hub/models--owner--name"


def partial(tmp_path: Path) -> Path:
    digest = checksum("model.safetensors", WEIGHTS)
    return repository(tmp_path) / f"blobs/{digest}.incomplete"


def held(tmp_path: Path) -> dict[str, bytes]:
    snapshot = repository(tmp_path) / "snapshots" / COMMIT
    return {
        str(file.relative_to(snapshot)): file.read_bytes()
        for file in snapshot.rglob("*")
        if file.is_file()
    }


def wanted() -> dict[str, bytes]:
    return {name: FILES[name] for name in CHOSEN}


def refusal(events: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Return the code, the reason and the message of the error at the end."""
    assert events[-1]["event"] == "error", events[-1]
    return events[-1]["code"], events[-1]["data"].get("reason", ""), events[-1]["message"]


def test_a_model_is_in_the_cache_as_the_hubs_own_client_has_it(
    pull: Pull, tmp_path: Path
) -> None:
    events = pull()

    cache = str(tmp_path / "hub")
    folder = snapshot_download("owner/name", cache_dir=cache, local_files_only=True)
    assert events[-1] == {
        "event": "result",
        "path": folder,
        "revision": COMMIT,
        "files": len(CHOSEN),
        "fetched": sum(map(len, wanted().values())),
    }
    assert held(tmp_path) == wanted()
    assert try_to_load_from_cache("owner/name", "config.json", cache_dir=cache) is not None
    assert (Path(folder) / "model.safetensors").is_symlink()
    told = [event for event in events if event.get("stage") == "download"]
    assert told[-1]["done"] == told[-1]["total"] == events[-1]["fetched"]
    assert [event["done"] for event in told] == sorted(event["done"] for event in told)


def test_what_is_there_is_checked_and_not_fetched_again(pull: Pull, hub: Hub) -> None:
    pull()
    hub.asked.clear()

    again = pull()

    assert again[-1]["fetched"] == 0
    assert not any("/resolve/" in path for _, path, _ in hub.asked)


def test_a_damaged_file_of_the_cache_is_fetched_again(
    pull: Pull, hub: Hub, tmp_path: Path
) -> None:
    pull()
    blob = partial(tmp_path).with_suffix("")
    blob.write_bytes(WEIGHTS[:-1] + b"?")
    hub.asked.clear()

    again = pull()

    assert again[-1]["fetched"] == len(WEIGHTS)
    assert held(tmp_path) == wanted()


def test_a_connection_that_breaks_is_resumed_at_once(
    pull: Pull, hub: Hub, tmp_path: Path
) -> None:
    hub.cut["model.safetensors"] = PART

    events = pull()

    assert events[-1]["event"] == "result"
    assert hub.ranges("model.safetensors") == [None, "bytes=2097152-"]
    assert held(tmp_path) == wanted()


@pytest.mark.parametrize("end", ["interrupt", "kill", "end of stdin"])
def test_the_next_run_goes_on_from_where_one_was_ended(
    hub: Hub, tmp_path: Path, end: str
) -> None:
    hub.hold["model.safetensors"] = PART
    with start(hub, tmp_path, {}) as program:
        while (event := json.loads(program.stdout.readline()))["done"] <= 2 << 20:
            assert event["event"] == "progress"
        if end == "end of stdin":
            program.stdin.close()
        else:
            program.send_signal(signal.SIGINT if end == "interrupt" else signal.SIGKILL)
        assert program.wait(PATIENCE_SECONDS) == (-signal.SIGKILL if end == "kill" else 130)
    have = partial(tmp_path).stat().st_size
    assert have in (1 << 20, 2 << 20)  # a report comes before its MiB is written
    assert not (repository(tmp_path) / "refs/main").exists()
    del hub.hold["model.safetensors"]

    with start(hub, tmp_path, {}) as program:
        events = [json.loads(line) for line in program.stdout]

    assert events[-1]["event"] == "result"
    assert hub.ranges("model.safetensors")[-1] == f"bytes={have}-"
    assert events[-1]["fetched"] < sum(map(len, wanted().values()))
    assert held(tmp_path) == wanted()


def test_a_damaged_beginning_is_fetched_again_as_a_whole(
    pull: Pull, hub: Hub, tmp_path: Path
) -> None:
    partial(tmp_path).parent.mkdir(parents=True)
    partial(tmp_path).write_bytes(b"?" * 1000)

    assert pull()[-1]["event"] == "result"
    assert hub.ranges("model.safetensors") == ["bytes=1000-", None]
    assert held(tmp_path) == wanted()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_wrong_checksum_is_an_error_that_leaves_no_such_file(
    pull: Pull, hub: Hub, tmp_path: Path, name: str
) -> None:
    hub.corrupt.add(name)

    code, reason, message = refusal(pull())

    assert (code, reason) == ("model_load_failed", "checksum")
    assert name in message
    assert name not in held(tmp_path)
    assert not list(repository(tmp_path).glob("blobs/*.incomplete"))
    assert not (repository(tmp_path) / "refs/main").exists()


def test_all_files_are_fetched_if_asked(pull: Pull, tmp_path: Path) -> None:
    assert pull(all_files=True)[-1]["files"] == len(FILES)
    assert held(tmp_path) == FILES


def test_a_tag_and_a_commit_are_revisions(pull: Pull, tmp_path: Path) -> None:
    assert pull(revision="v1")[-1]["revision"] == COMMIT
    assert (repository(tmp_path) / "refs/v1").read_text() == COMMIT
    assert pull(revision=COMMIT)[-1]["fetched"] == 0
    assert [file.name for file in (repository(tmp_path) / "refs").iterdir()] == ["v1"]


@pytest.mark.parametrize(
    ("task", "code", "told"),
    [
        ({"name": "owner/other"}, "model_not_found", "'owner/other'"),
        ({"name": "a/b/c"}, "invalid_params", "ORG/NAME"),
        ({"name": "owner name"}, "invalid_params", "ORG/NAME"),
        ({"revision": "v9"}, "model_not_found", "'v9'"),
        ({"revision": "../../x"}, "invalid_params", "branch"),
    ],
)
def test_what_the_hub_does_not_have_is_told(
    pull: Pull, tmp_path: Path, task: dict[str, str], code: str, told: str
) -> None:
    found, _, message = refusal(pull(**task))

    assert found == code
    assert told in message
    assert not (tmp_path / "hub").exists()


def test_a_gated_model_says_what_to_do_and_comes_with_a_token(
    pull: Pull, hub: Hub, tmp_path: Path
) -> None:
    hub.gated = True

    code, reason, message = refusal(pull())

    assert (code, reason) == ("unavailable", "gated")
    assert f"{hub.url}/owner/name" in message
    assert "HF_TOKEN" in message
    assert pull(token=TOKEN)[-1]["event"] == "result"
    assert held(tmp_path) == wanted()


def test_a_private_model_comes_with_a_token_alone(pull: Pull, hub: Hub) -> None:
    hub.private = True

    code, _, message = refusal(pull())

    assert code == "model_not_found"
    assert "private" in message
    assert pull(token=TOKEN)[-1]["event"] == "result"


@pytest.mark.parametrize(("status", "retryable"), [(503, True), (403, False)])
def test_other_answers_of_a_hub_are_told(
    pull: Pull, hub: Hub, status: int, retryable: bool
) -> None:
    hub.status = status

    last = pull()[-1]

    assert (last["code"], last["retryable"]) == ("unavailable", retryable)
    assert f"status {status}" in last["message"]


def test_a_hub_that_can_not_be_reached_is_told(
    pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    last = pull()[-1]

    assert (last["code"], last["data"]["reason"]) == ("unavailable", "network")
    assert last["retryable"] is True
    assert "http://127.0.0.1:9" in last["message"]


def test_the_variables_of_the_hubs_client_are_honoured(hub: Hub, tmp_path: Path) -> None:
    hub.private = True
    cache = tmp_path / "elsewhere"

    def last(**environment: str) -> dict[str, Any]:
        with start(hub, tmp_path, {"HF_HUB_CACHE": str(cache), **environment}) as program:
            event: dict[str, Any] = json.loads(program.stdout.readlines()[-1])
        return event

    missing = last(HF_HUB_OFFLINE="1")
    fetched = last(HF_TOKEN=TOKEN)
    hub.asked.clear()
    again = last(HF_HUB_OFFLINE="1")

    assert (missing["code"], missing["data"]["reason"]) == ("unavailable", "offline")
    assert "HF_HUB_OFFLINE" in missing["message"]
    assert fetched["path"] == str(cache / "models--owner--name/snapshots" / COMMIT)
    assert again["path"] == fetched["path"]
    assert hub.asked == []


def test_a_disk_without_the_room_is_refused_before(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    info = SimpleNamespace(
        sha=COMMIT,
        siblings=[
            SimpleNamespace(
                rfilename="model.safetensors", size=5000, blob_id="0" * 40, lfs=None
            )
        ],
    )
    monkeypatch.setattr(pulling.HfApi, "model_info", lambda *_, **__: info)

    with pytest.raises(WireError) as refused:
        pulling.pull(
            hub.name, revision=None, token=None, all_files=False, report=lambda *_: None
        )

    assert refused.value.code == "unavailable"
    assert (refused.value.data["needed"], refused.value.data["free"]) == (5000, 1000)
    assert hub.asked == []


def test_names_and_checksums_that_leave_the_cache_are_not_followed() -> None:
    siblings = [
        SimpleNamespace(rfilename=name, size=1, blob_id=digest, lfs=None)
        for name, digest in [
            ("../x.json", "0" * 40),
            ("/etc/x.json", "0" * 40),
            ("a.json", "../../x"),
            ("b.json", "0" * 40),
        ]
    ]

    assert [file.name for file in pulling._files(SimpleNamespace(siblings=siblings))] == [
        "b.json"
    ]
