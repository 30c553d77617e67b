"""A load finds out what a template knows within a bounded time, and says if that did not suffice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from factories.scripted import TURNS, write_scripted_model
from factories.tool_templates import TOOL_TEMPLATES
from mlxwire_worker.mlx_engine.conversation import settling
from mlxwire_worker.mlx_engine.text import template_process
from support.direct import Direct

ENDLESS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
LATE = TOOL_TEMPLATES["qwen3"] + "{% if tools %}" + ENDLESS + "{% endif %}"
NAMES = "{{ tools }}{{ tool_calls }}{{ enable_thinking }}{{ reasoning }}{{ reasoning_content }}"


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list to which each request is added that was not answered in time."""
    late: list[bytes] = []
    exchange = template_process.exchange

    def watched(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes:
        try:
            return exchange(process, request, seconds)
        except TimeoutError:
            late.append(request)
            raise

    monkeypatch.setattr(template_process, "exchange", watched)
    return late


@pytest.mark.parametrize("template", [ENDLESS + NAMES, LATE], ids=["all", "with tools"])
def test_an_endless_template_is_stopped_once_and_told_of(
    tmp_path: Path, timeouts: list[bytes], template: str
) -> None:
    direct = Direct(write_scripted_model(tmp_path, ["Hi"], template=template))
    try:
        (warning,) = [w for w in direct.engine.warnings if "template" in w]

        assert "took too long" in warning
        assert len(timeouts) == 1
        assert direct.info.capabilities["tools"] is False
        assert direct.info.capabilities["thinking"] is (template is LATE)
    finally:
        direct.close()


def test_renders_that_are_slow_together_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "PROBE_SECONDS", 1e-9)
    direct = Direct(write_scripted_model(tmp_path, ["Hi"], template=TURNS))
    try:
        assert any("took too long" in warning for warning in direct.engine.warnings)
    finally:
        direct.close()


def test_a_sound_template_is_not_warned_of(tmp_path: Path) -> None:
    direct = Direct(write_scripted_model(tmp_path, ["Hi"], template=TOOL_TEMPLATES["qwen3"]))
    try:
        assert not [warning for warning in direct.engine.warnings if "template" in warning]
        assert direct.info.capabilities["tools"] is True
    finally:
        direct.close()
