"""Secrets of the host's environment reach neither the template helper nor a scrubbed worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.process.environment import kept
from support.driver import WORKER, Driver, mock
from support.model_worker import Models
from support.processes import children_of

SECRETS = {"AWS_SECRET_ACCESS_KEY": "s3cret", "PASSWORD": "s3cret", "HF_TOKEN": "s3cret"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def environment_of(pid: int) -> dict[str, str]:
    raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(entry.split("=", 1) for entry in raw.split("\0") if entry)


@linux
def test_the_template_helper_is_never_given_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    others = set(children_of(os.getpid()))
    helper = TemplateProcess()
    assert helper.render("{{ 1 }}", {}) == "1"
    (pid,) = set(children_of(os.getpid())) - others

    given = environment_of(pid)
    helper.close()

    assert "s3cret" not in given.values()
    assert given["PATH"] == os.environ["PATH"]


@linux
def test_no_child_of_a_scrubbed_worker_has_a_secret(models: Models) -> None:
    with Driver("--scrub-env", environment=SECRETS | {"PASSWORD": "other"}) as worker:
        worker.hello()
        worker.load(str(models("qwen3")))
        worker.ask("chat", messages=[{"role": "user", "content": "x"}], max_tokens=1)
        (helper,) = children_of(worker.process.pid)

        assert not SECRETS.keys() & environment_of(helper).keys()


AFTER_START = """
import os, sys
from mlxwire_worker.worker import Worker
Worker.run = lambda self: os.write(2, ",".join(sorted(os.environ)).encode()) and os._exit(0)
sys.argv = ["mlxwire-worker", "--engine", "mock", *sys.argv[1:]]
from mlxwire_worker.__main__ import main
main()
"""


def names_after_start(*arguments: str, **more: str) -> set[str]:
    """Return the names of the variables that a worker has once it begins to serve."""
    ran = subprocess.run(
        [sys.executable, "-c", AFTER_START, *arguments],
        env={**os.environ, **SECRETS, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return set(ran.stderr.decode().split(","))


def test_a_scrubbed_worker_has_only_what_is_needed_and_what_was_named() -> None:
    more = {"MLX_X": "1", "LC_ALL": "C.UTF-8", "MY_A": "1", "MY_B": "2", "OTHER": "3"}

    plain = names_after_start(**more)
    scrubbed = names_after_start("--scrub-env", **more)
    named = names_after_start("--scrub-env", "--env-allow", "MY_*", **more)

    assert SECRETS.keys() | more.keys() <= plain
    assert {"PATH", "MLX_X", "LC_ALL"} <= scrubbed
    assert not (SECRETS.keys() | {"MY_A", "MY_B", "OTHER"}) & scrubbed
    assert named - scrubbed == {"MY_A", "MY_B"}


def test_a_library_to_load_is_not_kept_unless_it_was_named() -> None:
    more = {"MLXWIRE_BLAS": "off"}

    assert "MLXWIRE_BLAS" in names_after_start(**more)
    assert "MLXWIRE_BLAS" not in names_after_start("--scrub-env", **more)
    assert "MLXWIRE_BLAS" in names_after_start(
        "--scrub-env", "--env-allow", "MLXWIRE_BLAS", **more
    )


def test_the_hubs_token_stays_where_the_hub_is_allowed_alone() -> None:
    allowed = names_after_start("--scrub-env", "--allow-hub", HTTPS_PROXY="p")

    assert {"HF_TOKEN", "HTTPS_PROXY"} <= allowed
    assert not {"AWS_SECRET_ACCESS_KEY", "PASSWORD"} & allowed
    assert "HTTPS_PROXY" not in names_after_start("--scrub-env", HTTPS_PROXY="p")


def test_a_name_that_resembles_a_needed_one_is_not_kept() -> None:
    assert not kept({"PATH_SECRET": "x", "MY_PATH": "x", "path": "x", "ALC_X": "x"})


def test_a_name_to_keep_without_scrubbing_is_a_wrong_command_line() -> None:
    with mock("--env-allow", "X") as worker:
        assert worker.wait() == 2
        assert "--scrub-env" in worker.stderr()


def test_a_scrubbed_worker_serves(models: Models) -> None:
    with Driver("--scrub-env", command=WORKER) as worker:
        worker.hello()
        worker.load(str(models("qwen3")))
        final = worker.ask("generate", prompt="one", max_tokens=2)

    assert final["tokens_generated"] == 2
