"""The files of a model's or an adapter's folder, before anything in them is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

_READ_WHOLE = frozenset({".json", ".jinja", ".txt", ".model"})
MAX_READ_BYTES = 128 << 20
"""Of a file that is read as a whole; the largest tokenizers have 40 MB."""
MAX_CONFIG_BYTES = 8 << 20
"""Of a file with settings: as Python objects it takes forty times as much."""
_SETTINGS = frozenset({"config.json", "generation_config.json", "adapter_config.json"})


MOST_QUOTED = 300


def quoted(words: object) -> str:
    """A file's own words, or what a library makes of them, as much of it as an error tells."""
    return " ".join(str(words)[: 4 * MOST_QUOTED].split())[:MOST_QUOTED]


def failed(reason: str, message: str, **data: Any) -> WireError:
    """``model_load_failed`` with its reason."""
    return WireError("model_load_failed", message, data={"reason": reason, **data})


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises: WireError ``model_load_failed``."""
    remedy = "copy it anew from the model's source"
    try:
        value = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise failed(
            "invalid_json", f"{file.name} is not JSON ({error}); {remedy}", file=file.name
        ) from None
    except OSError as error:
        raise failed(
            "unreadable",
            f"{file.name} can't be read ({error.strerror}); {remedy}",
            file=file.name,
        ) from None
    if not isinstance(value, dict):
        raise failed("invalid_json", f"{file.name} holds no object; {remedy}", file=file.name)
    return value


def check_files(folder: Path) -> None:
    """To open a pipe or a device is to wait for it, in part with the interpreter's lock held.

    A file that is read as a whole may fill the memory.
    """
    for file in folder.iterdir():
        if file.exists() and not file.is_file() and not file.is_dir():
            raise failed(
                "not_a_file",
                f"{file.name} is no regular file; copy the model anew from its source",
                file=file.name,
            )
        most = MAX_CONFIG_BYTES if file.name in _SETTINGS else MAX_READ_BYTES
        whole = file.suffix in _READ_WHOLE and file.is_file()
        if whole and file.stat().st_size > most:
            raise failed(
                "too_large",
                f"{file.name} has more than {most} bytes; copy it anew from the model's source",
                file=file.name,
            )
