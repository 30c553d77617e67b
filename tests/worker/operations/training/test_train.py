"""`train` and `evaluate` beside the other requests, with the mock's script of losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlxwire_protocol import WireError
from support.conversation import ENDLESS, Message
from support.driver import mock
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost

from .conftest import Host

LONG = 10**7


def training(host: MemoryHost, **fields: Any) -> str:
    """Begin a training, and wait until it has taken steps."""
    request = host.send("train", **fields)
    host.until(lambda m: m.get("stage") == "train", request)
    return request


def test_a_training_tells_its_steps_and_its_losses(
    connect: Connect, rows: str, out: str
) -> None:
    host = connect()
    request = host.send(
        "train", data=rows, out=out, iterations=30, validation=rows, evaluate_every=30
    )
    result = host.final(request)
    reports = [m for m in host.messages[request] if m.get("stage") == "train"]

    assert (result["steps"], result["rows"], result["adapter"]) == (30, 3, out)
    assert result["first_loss"] > result["last_loss"]
    assert result["loaded_as"] is None
    assert reports[-1]["step"] == reports[-1]["total"] == 30
    assert reports[-1]["validation_loss"] is not None
    assert json.loads((Path(out) / "adapter_config.json").read_text())
    assert host.messages[request][0]["stage"] == "check"


def test_other_requests_go_on_while_a_training_runs(
    connect: Connect, engine: GatedEngine, rows: str, out: str
) -> None:
    host = connect()
    engine.open()
    request = training(host, data=rows, out=out, iterations=LONG)

    assert host.ask("generate", prompt="a b")["tokens_generated"] == 2
    assert host.ask("metrics")["in_flight"] == 1
    assert host.ask("load", path="another")["path"] == "another"
    assert host.ask("unload")["ok"]
    assert not host.finals(request)
    host.ask("cancel", target=request)
    assert host.final(request)["finish_reason"] == "cancelled"


def test_a_second_training_waits_and_can_be_cancelled_meanwhile(
    connect: Connect, rows: str, out: str
) -> None:
    host = connect()
    first = training(host, data=rows, out=out, iterations=LONG)
    dropped = host.send("train", data=rows, out=out + "2", iterations=5)
    waits = host.send("evaluate", data=rows)
    late = host.send("evaluate", data=rows, deadline_seconds=0.2)
    host.ask("cancel", target=dropped)

    assert host.final(dropped)["stage"] == "queued"
    assert "checkpoint" not in host.final(dropped)
    assert host.final(late)["error"]["code"] == "deadline_exceeded"
    assert not host.finals(waits)
    host.ask("cancel", target=first)
    assert host.final(waits)["rows"] == 3
    assert host.final(first)["finish_reason"] == "cancelled"
    assert not Path(out + "2").exists()


def test_a_cancelled_training_goes_on_where_it_was(
    connect: Connect, rows: str, out: str
) -> None:
    host = connect()
    request = training(host, data=rows, out=out, iterations=LONG)
    host.ask("cancel", target=request)
    final = host.final(request)
    checkpoint, step = Path(final["checkpoint"]), final["step"]

    assert checkpoint.is_dir()
    assert checkpoint.name == str(step)
    again = host.send("train", data=rows, out=out, iterations=step + 3, resume=True)
    assert host.final(again)["steps"] == step + 3
    steps = [m["step"] for m in host.messages[again] if m.get("stage") == "train"]
    assert min(steps) > step


def test_load_as_lets_the_next_request_use_the_adapter(
    connect: Connect, engine: GatedEngine, rows: str, out: str
) -> None:
    host = connect()
    engine.open()

    assert host.ask("train", data=rows, out=out, load_as="fact")["loaded_as"] == "fact"
    assert [each["name"] for each in host.ask("info")["adapters"]] == ["fact"]
    assert host.ask("generate", prompt="a", adapter="fact")["type"] == "done"
    assert host.ask("evaluate", data=rows, adapter="fact")["perplexity"] > 1


@pytest.mark.parametrize("gone", ["load", "unload"])
def test_load_as_of_a_model_that_is_gone_names_the_adapter(
    host_of: Host, engine: GatedEngine, rows: str, out: str, gone: str
) -> None:
    host = host_of("waits")
    engine.open()
    request = training(host, data=rows, out=out, load_as="fact")
    host.ask(gone, **({"path": "another"} if gone == "load" else {}))
    Path(out + ".go").touch()
    error = host.final(request)["error"]

    assert error["code"] == ("model_load_failed" if gone == "load" else "model_not_loaded")
    assert error["data"]["field"] == "load_as"
    assert error["data"]["adapter"] == out
    assert engine.adapters() == []


def test_load_as_that_fails_names_the_adapter(
    connect: Connect,
    engine: GatedEngine,
    rows: str,
    out: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: str) -> None:
        raise WireError("model_load_failed", "its keys are wrong", data={"tensor": "t"})

    host = connect()
    monkeypatch.setattr(engine, "load_adapter", refuse)
    error = host.ask("train", data=rows, out=out, load_as="fact")["error"]

    assert error["code"] == "model_load_failed"
    assert error["data"] == {"tensor": "t", "field": "load_as", "adapter": out}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"load_as": "n", "method": "full"}, "load_as"),
        ({"load_as": ""}, "load_as"),
        ({"iterations": 5, "epochs": 1}, "epochs"),
        ({"method": "full", "keys": ["q_proj"]}, "keys"),
        ({"method": "full", "format": "peft"}, "format"),
        ({"data": "/no/such/file"}, "data"),
        ({"validation": "/no/such/file"}, "validation"),
        ({"validation": 1.0}, "validation"),
        ({"out": "/"}, "out"),
        ({"out": "/dev/null"}, "out"),
        ({"out": "/dev/null/x"}, "out"),
        ({"data": "/dev/null"}, "data"),
        ({"batch_size": 0}, "batch_size"),
        ({"adapter": "n"}, "adapter"),
    ],
)
def test_a_wrong_option_is_refused_before_the_start(
    connect: Connect, rows: str, out: str, fields: dict[str, Any], field: str
) -> None:
    host = connect()
    final = host.ask("train", **{"data": rows, "out": out, **fields})

    assert final["error"]["code"] == "invalid_params"
    assert final["error"]["data"]["field"] == field
    assert not Path(out).exists()


def test_the_model_s_own_folder_is_no_place_for_a_result(
    connect: Connect, engine: GatedEngine, rows: str, tmp_path: Path
) -> None:
    host = connect()
    engine.open()
    host.load(str(tmp_path))

    assert host.ask("train", data=rows, out=str(tmp_path))["error"]["data"]["field"] == "out"


def test_training_and_evaluation_need_a_model(
    connect: Connect, engine: GatedEngine, rows: str, out: str
) -> None:
    host = connect()
    engine.open()
    host.ask("unload")

    assert host.ask("train", data=rows, out=out)["error"]["code"] == "model_not_loaded"
    assert host.ask("evaluate", data=rows)["error"]["code"] == "model_not_loaded"


def test_an_evaluation_of_an_unknown_adapter_is_refused(connect: Connect, rows: str) -> None:
    error = connect().ask("evaluate", data=rows, adapter="none")["error"]

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "adapter")


@pytest.mark.parametrize("field", ["data", "validation", "out"])
def test_every_path_lies_below_the_data_roots(tmp_path: Path, rows: str, field: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    inside = root / "rows.jsonl"
    inside.write_text('{"text": "x"}\n')
    (root / "linked").symlink_to(tmp_path)
    fields = {"data": str(inside), "validation": str(inside), "out": str(root / "out")}
    outside = {"data": rows, "validation": rows, "out": str(tmp_path / "out")}
    linked = {name: str(root / "linked" / Path(path).name) for name, path in outside.items()}

    with mock("--data-root", str(root)) as worker:
        worker.hello()
        worker.load("m")
        assert worker.ask("train", **fields)["type"] == "result"
        for bad in (outside, linked):
            error = worker.ask("train", **fields | {field: bad[field]})["error"]
            assert_refused(error, field)
        assert_refused(worker.ask("train", **fields | {"out": str(root)})["error"], "out")


def test_a_folder_of_data_leads_nowhere_else(tmp_path: Path, rows: str) -> None:
    root = tmp_path / "root"
    folder = root / "data"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").symlink_to(rows)
    inner = root / "out"
    inner.mkdir()
    (inner / "checkpoints").symlink_to(tmp_path)

    with mock("--data-root", str(root)) as worker:
        worker.hello()
        worker.load("m")
        assert_refused(worker.ask("evaluate", data=str(folder))["error"], "data")
        (folder / "test.jsonl").unlink()
        (folder / "test.jsonl").write_text('{"text": "x"}\n')
        assert worker.ask("evaluate", data=str(folder))["rows"] == 1
        error = worker.ask("train", data=str(folder / "test.jsonl"), out=str(inner))["error"]
        assert_refused(error, "out")


def test_quit_lets_a_training_save(tmp_path: Path, rows: str) -> None:
    out = tmp_path / "out"
    with mock("--mock-step-seconds", "0.01") as worker:
        worker.hello()
        worker.load("m")
        request = worker.send("train", data=rows, out=str(out), iterations=LONG, save_every=0)
        worker.until(lambda m: m.get("stage") == "train", request)
        quitted = worker.send("quit")
        final = worker.final(request)

        assert worker.final(quitted)["ok"]
        assert worker.wait() == 0
    assert final["finish_reason"] == "cancelled"
    assert Path(final["checkpoint"]).is_dir()


def test_a_stream_goes_on_through_a_whole_training(
    connect: Connect, engine: GatedEngine, rows: str, out: str
) -> None:
    host = connect()
    engine.open()
    stream = host.send("generate", **ENDLESS)
    host.first_token(stream)

    assert host.ask("train", data=rows, out=out)["type"] == "result"
    seen = len(host.messages[stream])
    host.until(lambda m: len(host.messages[stream]) > seen, stream)
    host.ask("cancel", target=stream)
    host.final(stream)


def assert_refused(error: Message, field: str) -> None:
    assert (error["code"], error["data"]["field"]) == ("invalid_params", field)
