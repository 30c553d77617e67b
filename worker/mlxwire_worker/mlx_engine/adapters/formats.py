"""Reads an adapter's folder, in mlx-lm's format or in PEFT's, and checks all of it.

The model is not touched: an adapter that was returned can be put into its layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mlx import nn

from mlxwire_protocol import WireError

from ..models.model_files import check_files, failed, read_object
from . import mlx_format
from .adapter import Adapter
from .checking import CONFIG, refused
from .peft import reading as peft_format

Format = Literal["mlx", "peft"]
TENSORS: dict[Format, str] = {"mlx": mlx_format.TENSORS, "peft": peft_format.TENSORS}
_PICKLED = "adapter_model.bin"
_SCALED_BY_MLX_LM = ("falcon_h1",)
"""Architectures whose weights mlx-lm multiplies by factors of the config while it reads them."""


def read_adapter(
    path: Path, modules: Mapping[str, nn.Module], *, field: str = "path"
) -> Adapter:
    """Read the adapter in a folder. ``modules`` are the model's own, by their paths; "" is the model.

    Raises: WireError ``model_not_found`` if there is no folder, ``model_load_failed`` with
    ``data.reason`` for anything else; ``data.field`` is ``field``.
    """
    with naming(field):
        form, config = check_folder(path)
        _refuse_adapted(modules)
        if form == "mlx":
            return mlx_format.read_mlx(path, config, modules)
        _refuse_scaled(modules[""])
        return peft_format.read_peft(path, config, modules)


def check_folder(path: Path) -> tuple[Format, dict[str, Any]]:
    """Return the format and the config of the adapter in a folder. Raises: WireError."""
    if not path.is_dir():
        raise WireError(
            "model_not_found",
            f"there is no adapter folder {str(path)!r}; give the path of a folder with "
            f"{CONFIG} and {TENSORS['mlx']} (mlx-lm) or {TENSORS['peft']} (PEFT)",
            data={"path": str(path)},
        )
    check_files(path)
    if not (path / CONFIG).is_file():
        raise refused(f"the adapter folder has no {CONFIG}; {_where_else(path)}", file=CONFIG)
    config = read_object(path / CONFIG)
    form: Format = "peft" if _is_peft(path, config) else "mlx"
    if form == "mlx":
        mlx_format.check_kind(config)
    if (path / TENSORS[form]).is_file():
        return form, config
    if form == "peft" and (path / _PICKLED).exists():
        raise refused(
            f"the adapter's tensors are in {_PICKLED}, a pickle file, which can run code when it is "
            f"read; save it again with PEFT's `save_pretrained(…)`, which writes {TENSORS[form]}",
            file=_PICKLED,
        )
    if parts := sorted(path.glob(f"{Path(TENSORS[form]).stem}-*-of-*.safetensors")):
        raise refused(
            f"the adapter's tensors are in several files, such as {parts[0].name}; save it again "
            f"with one file, {TENSORS[form]}",
            file=parts[0].name,
        )
    raise refused(
        f"the adapter folder has no {TENSORS[form]}; copy the file from where the adapter was "
        "trained",
        file=TENSORS[form],
    )


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Add the ``field`` of the request that named the adapter to errors about it."""
    try:
        yield
    except WireError as error:
        error.data.setdefault("field", field)
        raise


def _is_peft(path: Path, config: dict[str, Any]) -> bool:
    if "peft_type" in config:
        return True
    if (path / TENSORS["mlx"]).exists():
        return False
    return any((path / name).exists() for name in (TENSORS["peft"], _PICKLED))


def _where_else(path: Path) -> str:
    """Say where the config may be: PEFT saves adapters with a name into folders of that name."""
    below = sorted(file.parent.name for file in path.glob(f"*/{CONFIG}"))
    if below:
        return f"give the path of a folder that has one, such as {str(path / below[0])!r}"
    return "copy the file from where the adapter was trained"


def _refuse_adapted(modules: Mapping[str, nn.Module]) -> None:
    """Refuse a model that was loaded with an adapter, in layers of mlx-lm."""
    for module in modules.values():
        if type(module).__module__.startswith("mlx_lm.tuner."):
            raise failed(
                "adapter",
                "the model was loaded with an adapter (`adapter_path`), which is a part of it; load "
                "it without, and each adapter by its own name",
            )


def _refuse_scaled(model: nn.Module) -> None:
    architecture = type(model).__module__.rpartition(".")[2]
    if architecture in _SCALED_BY_MLX_LM:
        raise refused(
            f"the adapter is in PEFT's format ({CONFIG}), and mlx-lm scales the weights of "
            f"{architecture!r} when it reads them, so that it does not fit them; merge it into the model with PEFT "
            "(`merge_and_unload`) and load that model",
            file=CONFIG,
        )
