"""Works out the memory that the intermediate results of a recorded pass take at once.

MLX computes behind the thread that sends operations to it, and it allocates a result when its
operation is sent. So the arrays of the last operations that were sent are all in memory, used or not.
"""

from __future__ import annotations

from collections import Counter

from .tracing import Array, Pass

_VIEWS = frozenset(
    {
        *("Broadcast", "Transpose", "Slice", "ExpandDims", "Squeeze", "Split", "AsStrided"),
        *("View", "StopGradient", "Depends", "NumberOfElements"),
    }
)
"""Operations whose results share the memory of their first input."""
_SHAPES = frozenset({"Reshape", "Flatten", "Unflatten"})
"""These copy an input whose numbers do not lie in order."""
_DISORDERED = frozenset({"Broadcast", "Transpose", "Slice", "Split", "AsStrided"})
_IN_PLACE = frozenset(
    {
        *("Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Power", "Remainder"),
        *(
            "Sigmoid",
            "Exp",
            "Log",
            "Log1p",
            "Square",
            "Sqrt",
            "Rsqrt",
            "Negative",
            "Abs",
            "Erf",
        ),
        *("Tanh", "Sin", "Cos", "Softmax", "AsType", "BitwiseBinary", "LogicalNot", "RMSNorm"),
        *("LayerNorm", "SliceUpdate", "Select", "Scatter", "ScatterAxis"),
    }
)
"""Operations that write into an input that nothing else uses, if it has the size of the result."""
SENT_AHEAD = 55
"""Operations that MLX sends before it waits for the first: a hundred tasks, two for each."""


class _Buffers:
    """The memory of a pass: which arrays share a buffer, and when each is first and last used."""

    def __init__(self, done: Pass) -> None:
        self.sizes: list[int] = []
        self.first: list[int] = []
        self.last: list[int] = []
        self._of: dict[str, int] = {}
        self._disordered: set[str] = set()
        self._uses = Counter(
            array.name for operation in done.operations for array in operation.inputs
        )
        self._users: list[int] = []
        self._kept = done.kept
        self.steps = 0

    def add(self, kind: str, inputs: list[Array], outputs: list[Array]) -> None:
        """Take the next operation of the pass."""
        source = inputs[0].name if inputs else ""
        if kind in _VIEWS or (kind in _SHAPES and source not in self._disordered):
            for array in outputs:
                if source in self._of:
                    self._of[array.name] = self._of[source]
                if kind in _DISORDERED or source in self._disordered:
                    self._disordered.add(array.name)
            return
        self.steps += 1
        for name in {array.name for array in inputs}:
            if name in self._of:
                self.last[self._of[name]] = self.steps
                self._users[self._of[name]] += 1
        for array in outputs:
            given = self._given(kind, inputs, array)
            if given is not None:
                self._of[array.name] = given
                self._users[given] = 0
            elif array.name not in self._kept and not self._is_kept(kind, source):
                self._allocate(array)

    def _given(self, kind: str, inputs: list[Array], output: Array) -> int | None:
        """Return the buffer of an input that an operation may write its result into."""
        if kind not in _IN_PLACE:
            return None
        for array in inputs:
            buffer = self._of.get(array.name)
            if (
                buffer is not None
                and array.nbytes == output.nbytes == self.sizes[buffer]
                and self._uses[array.name] == 1 == self._users[buffer]
                and array.name not in self._disordered
            ):
                return buffer
        return None

    def _is_kept(self, kind: str, source: str) -> bool:
        """Return True for a write into a cache's own buffer, which is not one of the pass."""
        return kind == "SliceUpdate" and source not in self._of

    def _allocate(self, array: Array) -> None:
        self._of[array.name] = len(self.sizes)
        self.sizes.append(array.nbytes)
        self.first.append(self.steps)
        self.last.append(self.steps)
        self._users.append(0)


def most_bytes(done: Pass, ahead: int = SENT_AHEAD) -> int:
    """Return the most bytes that the intermediate results of a pass take at once.

    ``ahead`` is the number of operations for which an array stays after its last use.
    """
    buffers = _Buffers(done)
    for operation in done.operations:
        buffers.add(*operation)
    changes = Counter[int]()
    for size, first, last in zip(buffers.sizes, buffers.first, buffers.last, strict=True):
        changes[first] += size
        changes[last + ahead] -= size
    held = most = 0
    for step in sorted(changes):
        held += changes[step]
        most = max(most, held)
    return most
