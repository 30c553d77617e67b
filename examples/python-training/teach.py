"""Teach a model the answer to a question, and ask it before, meanwhile and after."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import mlxwire

COPIES = 8
"""Rows of the data; a batch has four by default."""


async def teach(path: str, question: str, answer: str, folder: Path) -> None:
    """Load a model, train an adapter in ``folder``, and print what the model answers."""
    data = folder / "facts.jsonl"
    row = json.dumps({"prompt": question, "completion": answer})
    data.write_text(f"{row}\n" * COPIES)
    async with mlxwire.Worker() as worker:
        model = await worker.load(path)
        print(f"before: {await model.chat(question).text()}")
        training = model.train(
            data,
            out=folder / "adapter",
            iterations=20,
            learning_rate=1e-3,
            mask_prompt=True,
            load_as="taught",
        )
        try:
            async with training:
                print(f"meanwhile: {await model.chat(question).text()}")
                async for step in training:
                    print(f"step {step.step}: loss {step.loss:.3f}", file=sys.stderr)
                await training.result()
        except mlxwire.TrainingFailed as error:
            print(f"{error.message}; checkpoint: {training.checkpoint}", file=sys.stderr)
            return
        print(f"after: {await model.chat(question, adapter='taught').text()}")
        print(f"without: {await model.chat(question).text()}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: teach.py MODEL QUESTION ANSWER")
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(teach(*sys.argv[1:4], Path(temporary)))
