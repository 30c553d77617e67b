"""The task of a conversion: one JSON object, and the checks that need no MLX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from mlxwire_protocol import WireError, invalid_params

DTYPES = ("float32", "bfloat16", "float16")
DYNAMIC = "dynamic"
_ELSEWHERE = ("awq", "dwq", "gptq")
_FIELD = re.compile(r"\$\.(\w+)")


class Task(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The options of `mlxwire convert`; None stands for one that was not given.

    ``text`` is the path of a text: the perplexity is measured on it, and the recipe ``dynamic``
    measures on it which layers need more bits. ``target_bits`` are the bits a weight of that recipe.
    """

    source: str
    out: str
    bits: int | None = None
    group_size: int | None = None
    mode: str | None = None
    mixed: str | None = None
    dtype: str | None = None
    dequantize: bool = False
    text: str | None = None
    target_bits: float | None = None

    @property
    def quantizes(self) -> bool:
        """Return True if an option asks for quantized weights."""
        return any(
            option is not None
            for option in (self.bits, self.group_size, self.mode, self.mixed, self.target_bits)
        )


class Text(NamedTuple):
    """A text to measure on, and the path that it was read from."""

    path: str
    content: str


def read_task(line: bytes) -> Task:
    """Read a task. Raises: WireError ``invalid_params``."""
    try:
        task = msgspec.json.decode(line, type=Task)
    except msgspec.MsgspecError as error:
        field = _FIELD.search(str(error))
        name = field[1] if field else "task"
        raise invalid_params(
            name, f"`{name}` has the wrong type ({error}); see docs/convert.md for its values"
        ) from None
    _check(task)
    return task


def _check(task: Task) -> None:
    """Refuse options that exclude each other, and values that no model can take."""
    if task.dtype is not None and task.dtype not in DTYPES:
        raise invalid_params(
            "dtype", f"`dtype` is {task.dtype!r}; accepted are {', '.join(DTYPES)}"
        )
    if task.mixed in _ELSEWHERE:
        raise invalid_params(
            "mixed",
            f"`mixed` is {task.mixed!r}, which trains on data and is not available here; run `mlx_lm.{task.mixed}`, "
            f"or take {DYNAMIC!r}, which measures the layers on a text",
        )
    if task.mixed is not None and task.mode not in (None, "affine"):
        raise invalid_params(
            "mode",
            f"`mode` is {task.mode!r}, but a recipe mixes numbers of bits, which only the mode 'affine' allows; leave "
            "`mode` or `mixed` out",
        )
    if task.mixed == DYNAMIC:
        if task.text is None:
            raise invalid_params(
                "text",
                "the recipe 'dynamic' measures on a text which layers need more bits; give `text`, the "
                "path of one that is like what the model will read",
            )
        return
    if task.target_bits is not None:
        raise invalid_params(
            "target_bits",
            "`target_bits` belongs to the recipe 'dynamic'; give `mixed` as 'dynamic', or `bits` in its "
            "place",
        )
    if task.mixed is not None and task.bits is not None:
        raise invalid_params(
            "bits",
            f"`bits` is {task.bits}, but the recipe {task.mixed!r} chooses the bits of each layer; "
            "leave `bits` or `mixed` out",
        )


def read_text(task: Task) -> Text | None:
    """Read the text of a task, if it has one. Raises: WireError ``invalid_params``."""
    if task.text is None:
        return None
    try:
        content = Path(task.text).expanduser().read_text("utf-8")
    except OSError as error:
        raise invalid_params(
            "text",
            f"the file `text`, {task.text!r}, can't be read ({error.strerror}); give the path of a text",
        ) from None
    except (UnicodeDecodeError, ValueError) as error:
        raise invalid_params(
            "text", f"the file `text`, {task.text!r}, is not UTF-8 ({error}); give a plain text"
        ) from None
    return Text(task.text, content)


def too_short(text: Text, tokens: int, least: int) -> WireError:
    """Create the error for a text that is too short to measure on."""
    return invalid_params(
        "text",
        f"the file `text`, {text.path!r}, has {tokens} tokens; give a text of at least {least}",
    )
