"""Writes adapters and checkpoints so that each is whole or absent, whenever the process ends.

Theory of operation. A checkpoint is a folder ``OUT/checkpoints/STEP``. It is written under another
name beside its place, each file and the folder are synced, and then it is renamed: a folder with a
number for a name is whole. The adapter in ``OUT`` itself is two files. Its old weights are removed before
a config that differs is put beside them, and the new weights come last: what is there always fits.

What a kill leaves behind has a name that begins with `UNFINISHED`, and the next run removes it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import msgspec

from mlxwire_protocol import WireError, invalid_params

from ..mlx_engine.adapters.checking import CONFIG
from ..mlx_engine.adapters.formats import TENSORS
from ..mlx_engine.writing.model_folder import write_tensors
from ..process.durable import durable_file, sync
from .checkpoints import FOLDER, RunState, numbered
from .formats import AdapterFiles

UNFINISHED = ".unfinished-"
KEPT = 2
"""Checkpoints that stay."""
_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
_WHAT = {
    "rows": ("data", "other rows to train on"),
    "model": ("resume", "other weights of the model"),
}
"""The field of the request, and the words, for options that are compared by a digest."""


class Checkpoint(NamedTuple):
    """A whole checkpoint: its folder, the state of the run, and the arrays of the optimizer."""

    path: Path
    state: RunState
    arrays: dict[str, mx.array]


class Output:
    """The folder ``out`` that a training writes to, created if need be.

    Raises: WireError ``invalid_params`` for a folder that can't be written, or has other things.
    """

    def __init__(self, out: str) -> None:
        self.path = Path(out)
        self._checkpoints = self.path / FOLDER
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self._checkpoints):
                for left in folder.glob(f"{UNFINISHED}*"):
                    _remove(left)
        except OSError as error:
            raise invalid_params(
                "out",
                f"the folder `out`, {out!r}, can't be written ({error.strerror}); name a folder that "
                "can be created and written",
            ) from None
        self._refuse_others()

    def _refuse_others(self) -> None:
        """Refuse what stands in the way of the result, or would be lost by it."""
        for name in (*TENSORS.values(), CONFIG):
            if (self.path / name).is_dir():
                raise self._taken(name, "is a folder in the place of a file of the result")
        if self._checkpoints.exists() and not self._checkpoints.is_dir():
            raise self._taken(
                self._checkpoints.name, "is a file in the place of the checkpoints' folder"
            )
        for path in numbered(self.path):
            if not (path / _STATE).is_file():
                raise self._taken(
                    f"{self._checkpoints.name}/{path.name}",
                    f"has no {_STATE}, so it is no checkpoint of a training, and would be removed",
                )

    def _taken(self, name: str, why: str) -> WireError:
        return invalid_params(
            "out",
            f"{name[:80]!r} in the folder `out`, {str(self.path)!r}, {why}; give another folder, or move "
            "it away",
        )

    def last(self) -> Checkpoint | None:
        """Read the last checkpoint; return None before the first one.

        Raises: WireError ``invalid_params`` if its files can't be read.
        """
        found = numbered(self.path)
        if not found:
            return None
        path = found[-1]
        try:
            state = msgspec.json.decode((path / _STATE).read_bytes(), type=RunState)
            arrays: Any = mx.load(str(path / _OPTIMIZER))
            mx.eval(arrays)
        except (
            OSError,
            ValueError,
            RuntimeError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            raise damaged(path, error) from None
        return Checkpoint(path, state, arrays)

    def forget(self) -> None:
        """Remove the checkpoints of an earlier run, whose steps are not those of the next."""
        self._drop(numbered(self.path))

    def _drop(self, checkpoints: list[Path]) -> None:
        """Remove checkpoints, renamed first: a kill meanwhile leaves no part under a number."""
        for path in checkpoints:
            path.rename(path.with_name(f"{UNFINISHED}old-{path.name}"))
        _remove(*self._checkpoints.glob(f"{UNFINISHED}*"))

    def save_checkpoint(
        self,
        state: RunState,
        arrays: dict[str, mx.array],
        adapter: AdapterFiles,
    ) -> Path:
        """Write a checkpoint, remove all but the last ones, and return its folder.

        Raises: OSError; nothing that was there before is changed then.
        """
        target = self._checkpoints / str(state.step)
        scratch = self._checkpoints / f"{UNFINISHED}{state.step}"
        _remove(scratch)
        scratch.mkdir(parents=True)
        try:
            _write_json(scratch / CONFIG, adapter.config)
            write_tensors(scratch / adapter.weights, adapter.tensors, "pt")
            write_tensors(scratch / _OPTIMIZER, arrays, "pt")
            _write_json(scratch / _STATE, msgspec.to_builtins(state))
            sync(scratch)
            if target.exists():
                target.rename(self._checkpoints / f"{UNFINISHED}old-{state.step}")
            scratch.rename(target)
            sync(self._checkpoints)
        except OSError:
            _remove(scratch)
            raise
        self._prune()
        return target

    def _prune(self) -> None:
        self._drop(numbered(self.path)[:-KEPT])

    def save_adapter(self, adapter: AdapterFiles) -> None:
        """Put an adapter into ``out`` itself, in the place of an older one. Raises: OSError."""
        weights, config = self.path / adapter.weights, self.path / CONFIG
        new_weights, new_config = (
            self.path / f"{UNFINISHED}{name}" for name in (adapter.weights, CONFIG)
        )
        try:
            write_tensors(new_weights, adapter.tensors, "pt")
            _write_json(new_config, adapter.config)
            same = config.is_file() and config.read_bytes() == new_config.read_bytes()
            for name in TENSORS.values():
                if not same or name != adapter.weights:
                    (self.path / name).unlink(missing_ok=True)
            sync(self.path)
            new_config.replace(config)
            sync(self.path)
            new_weights.replace(weights)
            sync(self.path)
        except OSError:
            _remove(new_weights, new_config)
            raise


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    with durable_file(file) as stream:
        stream.write(json.dumps(value, indent=2).encode() + b"\n")


def damaged(checkpoint: Path, why: object) -> WireError:
    """Create the error for a checkpoint whose files are not as they were written."""
    return invalid_params(
        "resume",
        f"the checkpoint {str(checkpoint)!r} can't be read ({why}); remove its folder to go on from the "
        "one before",
    )


def compare(checkpoint: Checkpoint, options: dict[str, Any]) -> None:
    """Refuse to go on from a checkpoint with other options than it was made with.

    Raises: WireError ``invalid_params`` for the first option that differs.
    """
    for name, value in options.items():
        before = checkpoint.state.options.get(name)
        if before != value:
            raise _differs(name, before, value)


def _differs(name: str, before: Any, value: Any) -> WireError:
    if (what := _WHAT.get(name)) is not None:
        field, told = what
        return invalid_params(
            field,
            f"the checkpoint was made with {told}; give the same, or leave `resume` out to begin anew",
        )
    return invalid_params(
        name,
        f"`{name}` is {value!r}, but the checkpoint was made with {before!r}; give the same value, or "
        "leave `resume` out to begin anew",
    )
