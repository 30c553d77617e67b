"""docs/model-settings.md lists exactly the settings that a load checks."""

from __future__ import annotations

from mlxwire_worker.mlx_engine.models.config.fields import FIELDS
from support.repository import ROOT


def test_the_page_lists_each_setting_with_its_neutral_value() -> None:
    text = (ROOT / "docs" / "model-settings.md").read_text("utf-8")
    table = text.split("| setting |")[1].split("\n\n")[0].splitlines()[2:]

    expected = [
        f"| {', '.join(f'`{name}`' for name in field.names)} | {field.neutral} |"
        for field in FIELDS
    ]
    assert table == expected
