"""The count of files that a chat crosses names files that exist, in every package."""

from __future__ import annotations

from architecture.count_files_crossed import TINY, count
from architecture.sources import PACKAGES


def test_a_chat_crosses_files_of_every_package() -> None:
    crossed = count(TINY)

    paths = [name.partition("/") for files in crossed.values() for name in files]
    assert all((PACKAGES[package] / file).is_file() for package, _, file in paths)
    assert {package for package, _, _ in paths} == set(PACKAGES)
    assert "mlxwire/stream.py" in crossed["client"]
    assert "mlxwire_protocol/framing.py" in crossed["worker"]
