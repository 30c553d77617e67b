"""A worker imports little, and leaves the process's limits alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from support.driver import Driver
from support.model_worker import Models

LIMITS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
before = resource.getrlimit(resource.RLIMIT_NOFILE)
from mlxwire_worker.mlx_engine.mlx_patches.light_import import import_mlx_lm
import_mlx_lm()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == before, "the limit of descriptors changed"
resource.setrlimit(resource.RLIMIT_NOFILE, before)
"""
WIRED = """
import mlx.core as mx
def never(*_):
    raise SystemExit("the wired limit was set")
mx.set_wired_limit = never
from mlxwire_worker.mlx_engine.mlx_patches.light_import import import_mlx_lm
import_mlx_lm()
from mlx_lm.generate import BatchGenerator
assert "maybe_set_recommended_wired_limit" in BatchGenerator.__init__.__code__.co_names
mx.metal.is_available = lambda: True
mx.device_info = lambda *_: {"max_recommended_working_set_size": 1 << 30}
BatchGenerator.__init__.__globals__["maybe_set_recommended_wired_limit"]()
"""
LATER = """
from mlxwire_worker.mlx_engine.mlx_patches.light_import import import_mlx_lm
import_mlx_lm()
import_mlx_lm()
import sys
assert not {{"transformers", "huggingface_hub"}} & sys.modules.keys()
import transformers, huggingface_hub
assert transformers.AutoTokenizer.from_pretrained({path!r}, local_files_only=True).encode("Hi")
assert callable(huggingface_hub.snapshot_download)
"""
UNCONSTRAINED = """
import sys
from mlxwire_worker.mlx_engine import loading
from mlxwire_worker.mlx_engine import preparing
assert not {"llguidance", "jsonschema_rs"} & sys.modules.keys()
"""
TELLING = """
import sys
from mlxwire_worker.mlx_engine.engine import MlxEngine
def close(self):
    heavy = {"transformers", "huggingface_hub", "torch"} & sys.modules.keys()
    print("heavy:", sorted(heavy), file=sys.stderr, flush=True)
MlxEngine.close = close
from mlxwire_worker.__main__ import main
main()
"""


def run(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


def test_the_limit_of_descriptors_is_left_alone() -> None:
    soft = min(1234, resource.getrlimit(resource.RLIMIT_NOFILE)[1])

    run(LIMITS.format(soft=soft))


def test_a_low_hard_limit_of_descriptors_does_not_stop_the_import() -> None:
    low = "resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))\n"

    run("import resource\n" + low + LIMITS.format(soft=256))


def test_the_wired_limit_is_left_alone() -> None:
    run(WIRED)


def test_transformers_and_the_hub_import_as_ever_afterwards(models: Models) -> None:
    run(LATER.format(path=str(models("qwen2"))))


def test_a_load_does_not_wait_for_the_compilers_of_grammars_and_schemas() -> None:
    run(UNCONSTRAINED)


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_a_worker_that_loads_and_chats_imports_no_transformers(
    models: Models, family: str
) -> None:
    with Driver(command=(sys.executable, "-c", TELLING)) as worker:
        worker.hello()
        worker.load(str(models(family)))
        worker.ask("chat", messages=[{"role": "user", "content": "Hi"}], max_tokens=2)
        worker.ask("classify", prompts=["Hi"])
        worker.ask("quit")
        worker.wait()

        assert "heavy: []" in worker.stderr()


def test_only_files_of_the_engine_import_mlx() -> None:
    import mlxwire_worker

    folder = Path(mlxwire_worker.__file__).parent
    importing = {
        str(file.relative_to(folder))
        for file in folder.rglob("*.py")
        if any(
            line.strip().startswith(
                ("import mlx.", "import mlx_lm", "from mlx.", "from mlx_lm")
            )
            for line in file.read_text("utf-8").splitlines()
        )
    }

    assert importing
    # The program that trains is a process of its own; the worker imports none of its parts that need MLX.
    assert {name.split("/")[0] for name in importing} == {
        "conversion",
        "mlx_engine",
        "training",
    }
