"""The package's exports, as users and type checkers see them."""

from __future__ import annotations

import subprocess
import sys

import mlxwire
import mlxwire.sync
from support.repository import ROOT

USE = """
import mlxwire
import mlxwire.sync

async def main() -> None:
    async with mlxwire.Worker(engine="mock", shutdown=mlxwire.ShutdownLimits(quit=1)) as worker:
        model = await worker.load("p", context_len=3, timeout=1.0)
        async with model.chat([{"role": "user", "content": "x"}], max_tokens=3) as stream:
            async for token in stream:
                print(token.text, token.id, token.seq)
        print(stream.done.metrics.decode_tokens_per_second, stream.done.stage)
        text: str = await model.generate("p", stop=["x"], seed=1).text()
        async for result in model.batch(["a", "b"], on_token=print, logprobs=True):
            worst: mlxwire.MlxwireError | None = result.error
            print(result.text, worst)
        print((await model.cache.warm(messages="x")).affected)
        print((await worker.memory(clear=True)).active_bytes)
        model.generate("p", logit_bias={5: 1.5}, deadline_seconds=3)
        model.generate("p", max_tokenz=3)  # expect
        model.generate("p", temperature="hot")  # expect
        model.generate("p", thinking=True)  # expect
        model.batch("p", on_token=3)  # expect
        await worker.load("p", context_policy="forget")  # expect
    policy = mlxwire.RestartPolicy(max_restarts=3, window=60, backoff_min=0.1, backoff_max=5)
    async with mlxwire.Supervisor(engine="mock", restart=policy, unload_after=60) as supervisor:
        model = await supervisor.load("p", kv_bits=8)
        print(supervisor.state == "ready", supervisor.state == "wedged")  # expect
    limits = mlxwire.LivenessLimits(silence=5, step=60, phases={"load": None})
    async with mlxwire.Pool(byte_budget=1 << 30, liveness=limits, on_change=print) as pool:
        model = await pool.load("p", workers=2, on_demand=True, context_len=4096)
        print([worker.in_flight for worker in pool.workers], model.loaded.path)
        await pool.load("p", worker=2)  # expect

with mlxwire.sync.Worker(engine="mock", env={}) as blocking:
    for piece in blocking.load("p").chat("x", thinking=True):
        print(piece.text, [likely.text for likely in piece.top_logprobs or []])
    print(blocking.load("p").cache.stats().entries, blocking.memory().active_bytes)
    mlxwire.sync.Worker(engin="mock")  # expect

with mlxwire.sync.Supervisor(engine="mock", dice=None) as lasting:
    print(lasting.load("p").chat("x").text(), lasting.state)
with mlxwire.sync.Pool(engine="mock", patience=3) as several:
    print(several.load("p", workers=2).chat("x").text(), several.workers[0].pid)
"""


def test_the_exports_are_these_and_no_others():
    errors = {kind.__name__ for kind in mlxwire.MlxwireError.__subclasses__()}
    assert set(mlxwire.__all__) - errors == {
        *("Backend", "BackendModel", "BatchResult", "BatchStream", "CacheResult"),
        *("CancelResult", "ChatOptions", "ClassifyResult", "Done", "Event"),
        *("GenerateOptions", "Heartbeat", "HelloResult", "LivenessLimits", "LoadOptions"),
        *("MemoryOptions", "MemoryResult", "Message", "MlxwireError", "Model", "ModelInfo"),
        *(
            "Pool",
            "PoolMemory",
            "PoolMetrics",
            "PoolWorker",
            "Progress",
            "PromptCache",
            "RequestMetrics",
            "RestartPolicy",
            "ShutdownLimits",
        ),
        *("Supervisor", "Token", "TokenStream", "TopLogprob", "WireError", "Worker"),
        *("WorkerChange", "WorkerMetrics", "__version__"),
        *("backend", "load_model"),
    }
    assert errors <= set(mlxwire.__all__)
    assert all(hasattr(mlxwire, name) for name in mlxwire.__all__)
    assert mlxwire.sync.__all__ == [
        "BatchStream",
        "Model",
        "Pool",
        "PromptCache",
        "Supervisor",
        "TokenStream",
        "Worker",
    ]


def test_a_strict_type_checker_follows_the_options(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    command += ["--config-file", str(ROOT / "pyproject.toml"), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = {line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line}
    lines = enumerate(USE.splitlines(), 1)
    assert found == {str(n) for n, line in lines if "# expect" in line}, done.stdout
