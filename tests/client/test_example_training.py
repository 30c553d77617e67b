"""The example that teaches: the tiny model learns a made-up capital, and answers meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys

from support.patience import PATIENCE_SECONDS
from support.repository import ROOT
from support.tiny_model import TINY, needs_tiny

PROGRAM = ROOT / "examples" / "python-training" / "teach.py"


@needs_tiny
def test_the_adapter_alone_knows_what_was_taught():
    question = "What is the capital of Zubrowka?"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), str(TINY), question, "Lutz"],
        capture_output=True,
        text=True,
        env={**os.environ, "MLXWIRE_WORKER": ""},
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert told["after"] == "Lutz"
    assert told["before"] == told["meanwhile"] == told["without"] != "Lutz"
    assert "loss" in done.stderr
