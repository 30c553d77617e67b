"""Limits and readers for the files of a model folder or an adapter folder, and their errors."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

_READ_WHOLE = frozenset({".json", ".jinja", ".txt", ".model"})
MAX_READ_BYTES = 128 << 20
"""The largest accepted size of a file that is read whole; the largest tokenizers have 40 MB."""
MAX_CONFIG_BYTES = 8 << 20
"""The largest accepted size of a settings file; parsed, it takes forty times its size."""
ADAPTER_CONFIG = "adapter_config.json"
_SETTINGS = frozenset({"config.json", "generation_config.json", ADAPTER_CONFIG})
TOKENIZER_FILES = frozenset(
    {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tiktoken.model"}
)
"""A folder has a tokenizer if it has one of these."""
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_READ = frozenset(
    {*_SETTINGS, *TOKENIZER_FILES, *_TOKENIZER_SETTINGS, "merges.txt", "hf_quant_config.json"}
    | {"chat_template.jinja", "chat_template.json", "model.safetensors.index.json"}
    | {"modules.json", "config_sentence_transformers.json"}
)
"""Files beside the weights that a load reads. A broken link in the place of one is refused."""
LFS_POINTER = b"version https://git-lfs"
IS_LFS_POINTER = "is a pointer of Git LFS in place of the {} (`git lfs pull` fetches {})"
MOST_QUOTED = 300
"""Characters of a file's or a library's own text that an error message quotes."""


def quoted(words: object) -> str:
    """Shorten a text from a file or a library to one line of at most ``MOST_QUOTED`` characters."""
    return " ".join(str(words)[: 4 * MOST_QUOTED].split())[:MOST_QUOTED]


def is_text(value: Any) -> bool:
    """Return True for a text that can be sent: without half characters."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def failed(reason: str, message: str, **data: Any) -> WireError:
    """Create the WireError ``model_load_failed`` with ``data.reason`` and more data."""
    return WireError("model_load_failed", message, data={"reason": reason, **data})


def unsupported(reason: str, message: str, **data: Any) -> WireError:
    """Create a WireError ``unsupported_model``."""
    return WireError("unsupported_model", message, data={"reason": reason, **data})


def text_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the object `text_config` of a config.json; empty if it has none."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else {}


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object. Raises: WireError ``model_load_failed``."""
    remedy = "copy it again from the model's source"
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
        raise failed(
            "invalid_json", f"{file.name} is not a JSON object; {remedy}", file=file.name
        )
    return value


def check_folder_exists(path: Path, kind: str = "a folder") -> None:
    """Check that a path leads to a folder; ``kind`` says in errors what to give.

    Raises: WireError ``model_not_found`` or ``model_load_failed``.
    """
    if not path.exists():
        raise WireError(
            "model_not_found",
            f"there is no folder {str(path)!r}; give the path of {kind}",
            data={"path": str(path)},
        )
    if not path.is_dir():
        raise failed("not_a_folder", f"{str(path)!r} is a file; give the folder that holds it")


def unreadable_folder(folder: Path, error: OSError) -> WireError:
    """Create the WireError for a folder that the system does not let be read."""
    return failed(
        "unreadable",
        f"{folder.name!r} can't be read ({error.strerror}); correct its permissions, or copy the "
        "model again from its source",
    )


def _broken_link(name: str, error: OSError) -> WireError:
    lost = isinstance(error, FileNotFoundError)
    told = (
        "is a link to a file that is not there" if lost else f"can't be read ({error.strerror})"
    )
    return failed(
        "unreadable", f"{name} {told}; copy it again from the model's source", file=name
    )


def check_files(folder: Path) -> None:
    """Refuse pipes and devices in a folder, files too large to be read whole, and broken links.

    Opening a pipe blocks, in part with the interpreter's lock held, and a huge JSON file fills the
    memory. A link that leads nowhere would count as a file that the folder does not have.
    Raises: WireError ``model_load_failed``.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise unreadable_folder(folder, error) from None
    for entry in entries:
        try:
            status = entry.stat()
        except OSError as error:
            if entry.name in _READ:
                raise _broken_link(entry.name, error) from None
            continue  # `check_shards` reports a weight file, and nobody reads another
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            raise failed(
                "not_a_file",
                f"{entry.name} is not a regular file; copy the model again from its source",
                file=entry.name,
            )
        most = MAX_CONFIG_BYTES if entry.name in _SETTINGS else MAX_READ_BYTES
        if status.st_size > most and os.path.splitext(entry.name)[1] in _READ_WHOLE:
            raise failed(
                "too_large",
                f"{entry.name} has {status.st_size} bytes; the largest accepted size is {most} "
                "bytes. Copy it again from the model's source",
                file=entry.name,
            )


def check_tokenizer_files(folder: Path) -> None:
    """Refuse a tokenizer whose settings are no JSON, or whose tokenizer.json is cut off.

    A load reads the whole of tokenizer.json. Raises: WireError ``model_load_failed``.
    """
    for name in _TOKENIZER_SETTINGS:
        read_tokenizer_settings(folder / name)
    file = folder / "tokenizer.json"
    if not file.exists():
        return
    try:
        with file.open("rb") as opened:
            start = opened.read(64).lstrip()
            opened.seek(max(0, opened.seek(0, 2) - 64))
            end = opened.read().rstrip()
    except OSError as error:
        detail = f"can't be read ({error.strerror})"
    else:
        if start.startswith(b"{") and end.endswith(b"}"):
            return
        detail = "is cut off or no JSON object"
        if start.startswith(LFS_POINTER):
            detail = IS_LFS_POINTER.format("tokenizer", "it")
    raise failed(
        "tokenizer",
        f"the tokenizer can't be read: {file.name} {detail}; copy {file.name} again from the "
        "model's source",
        file=file.name,
    )


def read_tokenizer_settings(file: Path) -> dict[str, Any]:
    """Read a JSON file of a tokenizer; return {} for a missing one, and for another value.

    Raises: WireError ``model_load_failed``.
    """
    try:
        value = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        detail = error.strerror if isinstance(error, OSError) else error
        raise failed(
            "tokenizer",
            f"{file.name} can't be read: {detail}; copy it again from the model's source",
            file=file.name,
        ) from None
    return value if isinstance(value, dict) else {}
