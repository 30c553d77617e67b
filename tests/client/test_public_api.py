"""The package's exports, as users and type checkers see them."""

from __future__ import annotations

import subprocess
import sys
from typing import get_type_hints

import mlxwire
import mlxwire.sync
from mlxwire.options import WorkerOptions
from support.repository import ROOT

USE = """
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import mlxwire
import mlxwire.sync

class EngineStream:
    done = mlxwire.Done(
        finish_reason="stop", tokens_generated=0, metrics=mlxwire.RequestMetrics()
    )
    async def text(self) -> str: return ""
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> Self: return self
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def __aiter__(self) -> AsyncIterator[mlxwire.Token]:
        tokens: list[mlxwire.Token] = []
        for token in tokens:
            yield token

class EngineBatch(EngineStream):
    async def results(self) -> list[mlxwire.BatchResult]: return []
    async def __aiter__(self) -> AsyncIterator[mlxwire.BatchResult]:  # type: ignore[override]
        for result in await self.results():
            yield result

class EngineCache:
    async def stats(self) -> mlxwire.CacheResult: raise mlxwire.UnsupportedCapability("no cache")
    async def clear(self) -> mlxwire.CacheResult: return await self.stats()
    async def warm(
        self, prompt: str | None = None, *, messages: object = None
    ) -> mlxwire.CacheResult: return await self.stats()
    async def save(self, path: object) -> mlxwire.CacheResult: return await self.stats()
    async def load(self, path: object) -> mlxwire.CacheResult: return await self.stats()

class EngineModel:
    metrics = mlxwire.RequestMetrics()
    cache = EngineCache()
    def generate(self, prompt: str, **options: Any) -> EngineStream: return EngineStream()
    def chat(self, messages: object, **options: Any) -> EngineStream: return EngineStream()
    def batch(self, prompts: Sequence[str], **options: Any) -> EngineBatch: return EngineBatch()
    async def classify(
        self, prompts: Sequence[str], **options: Any
    ) -> list[mlxwire.ClassifyResult]: return []
    async def info(self) -> mlxwire.ModelInfo: raise mlxwire.ModelNotLoaded("gone")
    async def close(self) -> None: ...

class Engine:
    name = "outside"
    def available(self) -> bool: return True
    async def load_model(self, path: object, **options: Any) -> EngineModel: return EngineModel()

mlxwire.backend.register(Engine())
mlxwire.backend.register(EngineModel())  # expect

async def main() -> None:
    model_of_any = await mlxwire.load_model("p", backend="outside")
    async with model_of_any.chat("x") as answer:
        async for token in answer:
            print(token.text)
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
        print((await model.tokenize_chat("x", thinking=False, count_only=True)).count + 1)
        text = await model.detokenize((await model.tokenize("x")).ids or [])
        print((await worker.memory(clear=True)).active_bytes)
        tool = mlxwire.Tool(len, name="n", parameters={"type": "object"})
        calling = model.chat("x", tools=[tool.definition], tool_choice="n", thinking={"budget": 3})
        turn: dict[str, Any] = await calling.message()
        print(turn, await calling.thoughts(), [each.parsed() for each in await calling.calls()])
        ran: mlxwire.ToolsAnswer = await mlxwire.run_tools(model, "x", [tool, len], seed=1)
        print(ran.text)
        await mlxwire.run_tools(model, "x", [tool], tools_=3)  # expect
        model.generate("p", tools=[])  # expect
        model.generate("p", logit_bias={5: 1.5}, deadline_seconds=3)
        loaded: list[mlxwire.AdapterInfo] = await model.load_adapter("poet", "a")
        print(loaded[0].rank, await model.chat("x", adapter="poet").text())
        async with model.train("d", out="o", method="dora", keys=["q_proj"]) as training:
            async for step in training:
                print(step.loss, step.validation_loss or step.seconds_left)
            trained: mlxwire.TrainResult = await training.result()
        print(trained.adapter, (await model.evaluate("d", adapter="poet")).perplexity)
        model.train("d")  # expect
        model.train("d", out="o", optimizer="adam")  # expect
        await model.evaluate("d", rank=3)  # expect
        model.generate("p", max_tokenz=3)  # expect
        model.generate("p", temperature="hot")  # expect
        model.generate("p", thinking=True)  # expect
        model.batch("p", on_token=3)  # expect
        await model.tokenize([{"role": "user", "content": "x"}])  # expect
        await worker.load("p", context_policy="forget")  # expect
    policy = mlxwire.RestartPolicy(max_restarts=3, window=60, backoff_min=0.1, backoff_max=5)
    async with mlxwire.Worker(engine="mock", restart=policy, unload_after=60) as worker:
        model = await worker.load("p", kv_bits=8)
        print(worker.state == "ready", worker.state == "wedged")  # expect
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

with mlxwire.sync.Worker(engine="mock", restart=mlxwire.RestartPolicy()) as lasting:
    print(lasting.load("p").chat("x").text(), lasting.state)
with mlxwire.sync.Pool(engine="mock", patience=3) as several:
    print(several.load("p", workers=2).chat("x").text(), several.workers[0].pid)
"""


def test_the_exports_are_these_and_no_others():
    errors = {kind.__name__ for kind in mlxwire.MlxwireError.__subclasses__()}
    assert set(mlxwire.__all__) - errors == {
        *("Backend", "BackendModel", "BatchResult", "BatchStream", "BrokenModel"),
        *("CacheResult", "CancelResult", "ChatOptions", "ClassifyOptions", "ClassifyResult"),
        *("ClassifyStream", "DiscoverStream", "Done", "EmbedOptions", "Embedding"),
        *("EmbeddingStream", "Event", "FitOptions", "FitResult", "FoundAdapter", "FoundModel"),
        *("RankedDocument", "Rendered", "RenderedMessage", "ScoreResult", "ScoreStream"),
        *(
            "GenerateOptions",
            "Heartbeat",
            "HelloResult",
            "Inspected",
            "LivenessLimits",
            "LoadOptions",
        ),
        *("MemoryOptions", "MemoryResult", "Message", "MlxwireError", "Model", "ModelInfo"),
        *(
            "ParsedBatch",
            "ParsedResult",
            "ParsedStream",
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
        *(
            "Token",
            "TokenStream",
            "Tokenized",
            "Tool",
            "ToolCall",
            "ToolCallDelta",
            "ToolError",
            "ToolResult",
            "ToolsAnswer",
            "TopLogprob",
        ),
        *("WireError", "Worker", "WorkerChange", "WorkerMetrics", "__version__"),
        *("AdapterInfo", "EvaluateOptions", "EvaluateResult"),
        *("TrainOptions", "TrainProgress", "TrainResult", "Training"),
        *("Conversion", "ConvertProgress", "Quantization", "convert", "PulledModel", "pull"),
        *("backend", "load_model", "run_tools", "TooManyRounds", "CallCutOff"),
    }
    assert errors <= set(mlxwire.__all__)
    assert all(hasattr(mlxwire, name) for name in mlxwire.__all__)
    assert mlxwire.sync.__all__ == [
        "BatchStream",
        "ClassifyStream",
        "DiscoverStream",
        "EmbeddingStream",
        "Model",
        "ParsedBatch",
        "ParsedStream",
        "Pool",
        "PromptCache",
        "ScoreStream",
        "TokenStream",
        "Training",
        "Worker",
        "convert",
        "pull",
        "run_tools",
    ]


def test_the_options_of_a_worker_are_the_keywords_that_it_takes():
    keywords = get_type_hints(mlxwire.Worker.__init__)
    del keywords["command"], keywords["return"]
    options = get_type_hints(WorkerOptions)

    assert options.keys() == keywords.keys()
    assert {name: kind for name, kind in options.items() if keywords[name] != kind} == {}


def test_a_strict_type_checker_follows_the_options(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    command += ["--config-file", str(ROOT / "pyproject.toml"), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = {line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line}
    lines = enumerate(USE.splitlines(), 1)
    assert found == {str(n) for n, line in lines if "# expect" in line}, done.stdout
