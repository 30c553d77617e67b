"""The adapters that are loaded beside a model: their names, their slots, and their layers.

Theory of operation. An adapter is read and checked first; then each module that it changes gets a
layer in its place (`layers`), which holds it under a slot. A request names an adapter and so gets an
`AdapterInUse`, which its prompt keeps. The name may go to another adapter meanwhile; a slot is free
again once its adapter has no name and no prompt. Without any adapter the modules stand alone again.

Threads: the engine's thread, except `named`, which the prepare thread calls.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

import mlx.core as mx
from mlx import nn

from mlxwire_protocol.results import AdapterInfo

from ...requests.admission import check_adapter
from .adapter import Adapter
from .checking import check_numbers
from .keys import keys_with
from .layers import EXPERTS, AdaptedModule, RowwiseExperts, adapted
from .pass_slots import BASE, PassSlots


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class AdapterInUse:
    """An adapter in its slot, for as long as a name or a prompt has it.

    ``number`` is one that no other adapter of this model had before.
    """

    slot: int
    number: int
    info: AdapterInfo

    @property
    def name(self) -> str:
        """Return the name under which it was loaded."""
        return self.info.name

    def keys(self, ids: Sequence[int]) -> list[int]:
        """Return keys for the prompt cache, which no sequence without this adapter has."""
        return keys_with(self.number, ids)


class AdapterSlots:
    """The adapters of one model; ``on_gone`` is told the number of each that nobody uses any more."""

    def __init__(self, model: Any, on_gone: Callable[[int], None] = lambda _: None) -> None:
        self._model = model
        self._on_gone = on_gone
        self._layers: dict[str, AdaptedModule] = {}
        self._placed: dict[str, nn.Module] = {}
        self._names: dict[str, AdapterInUse] = {}
        self._slots: dict[int, tuple[int, weakref.ref[AdapterInUse]]] = {}
        self._numbers = count(1)
        self._passing = PassSlots()
        self._lock = threading.Lock()

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        """Return the model's own modules by their paths, without layers of adapters."""
        assert not self._layers
        return dict(self._model.named_modules())

    @property
    def infos(self) -> list[AdapterInfo]:
        """Return the descriptions of the adapters that have a name, in the order of their loads."""
        with self._lock:
            return [each.info for each in self._names.values()]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all adapters, also of those that only running requests use."""
        return sum(layer.nbytes for layer in self._layers.values())

    def named(self, name: str, *, field: str = "adapter") -> AdapterInUse:
        """Return the adapter of a name. Raises: WireError ``invalid_params`` for ``field``."""
        with self._lock:
            check_adapter(name, self._names, field=field)
            return self._names[name]

    def rows(self, uses: Iterable[AdapterInUse | None]) -> AbstractContextManager[None]:
        """Build a pass whose rows use these adapters; None is the model alone."""
        return self._passing.of([BASE if use is None else use.slot for use in uses])

    @property
    def empty(self) -> bool:
        """Return True if no layer holds an adapter."""
        return not self._layers

    def load(self, name: str, adapter: Adapter) -> AdapterInUse:
        """Take a checked adapter under a name, in place of one that has the name.

        Raises: WireError or ValueError if the model can't compute with it; then nothing changes.
        """
        self.sweep()
        slot = next(each for each in count(1) if each not in self._slots)
        info = AdapterInfo(
            name=name,
            path=str(adapter.path),
            format=adapter.format,
            method=adapter.method,
            rank=adapter.rank,
            scale=adapter.scale,
            modules=len(adapter.modules),
            parameters=adapter.parameters,
            bytes=adapter.nbytes,
        )
        use = AdapterInUse(slot, next(self._numbers), info)
        try:
            self._fill(slot, adapter)
            with self.rows([use]):
                check_numbers(self._model(mx.array([[0, 0]])))
        except BaseException:
            self._empty(slot)
            raise
        self._slots[slot] = (use.number, weakref.ref(use))
        with self._lock:
            self._names.pop(name, None)
            self._names[name] = use
        self.sweep()
        return use

    def unload(self, name: str) -> None:
        """Take an adapter's name away; requests in flight go on with it. Raises: WireError."""
        self.named(name, field="name")
        with self._lock:
            del self._names[name]
        self.sweep()

    def sweep(self) -> None:
        """Free the slots of adapters that nobody uses any more."""
        if len(self._slots) == len(self._names):
            return
        gone = [(slot, number) for slot, (number, use) in self._slots.items() if use() is None]
        for slot, number in gone:
            del self._slots[slot]
            self._empty(slot)
            self._on_gone(number)

    def _fill(self, slot: int, adapter: Adapter) -> None:
        for path, tensors in adapter.modules.items():
            layer = self._layers.get(path)
            if layer is None:
                module = self.modules[path]
                layer = adapted(module, self._passing)
                if layer is None:
                    raise ValueError(f"{path} is a {type(module).__name__}")
            layer.put(slot, tensors)
            self._layers[path] = layer
        self._arrange(max([slot, *self._slots]) + 1)

    def _empty(self, slot: int) -> None:
        for path, layer in list(self._layers.items()):
            if layer.remove(slot):
                del self._layers[path]
        if self._layers:
            self._arrange(max([BASE, *self._slots]) + 1)
        else:
            self._place()

    def _arrange(self, count: int) -> None:
        for layer in self._layers.values():
            layer.arrange(count)
        self._place()

    def _place(self) -> None:
        """Put the layers, and the blocks around experts, into the tree, and bare modules back."""
        wanted: dict[str, nn.Module] = dict(self._layers)
        for path in self._layers:
            if isinstance(self.modules[path], EXPERTS):
                block = path.rpartition(".")[0]
                standing = self._placed.get(block)
                wanted[block] = standing or RowwiseExperts(self.modules[block], self._passing)
        for path in self._placed.keys() - wanted.keys():
            _put(self.modules, path, self.modules[path])
        for path, module in wanted.items():
            if self._placed.get(path) is not module:
                _put(self.modules, path, module)
        self._placed = wanted


def _put(modules: Mapping[str, nn.Module], path: str, module: nn.Module) -> None:
    """Make a module the part that ``path`` names, of the module or the list that has it."""
    owner, _, name = path.rpartition(".")
    if owner in modules:
        parent = modules[owner]
        parent[name] = module
        if name in vars(parent):  # `hold_children_directly` has put the part there too
            object.__setattr__(parent, name, module)
        return
    owner, _, name_of_list = owner.rpartition(".")
    modules[owner][name_of_list][int(name)] = module
