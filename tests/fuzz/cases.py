"""A case is what one target is fed, step by step; a finding is a case after which something is wrong.

Cases are kept as JSON (`testdata/fuzz/README.md`), so that what was found once is tried for ever.
"""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from typing import Any, NamedTuple


class Do(NamedTuple):
    """Something that happens beside the bytes that come, such as a turn of the scheduler."""

    name: str


Step = bytes | Do
Case = list[Step]


class Finding(AssertionError):
    """A rule that must hold was broken."""


class Target(ABC):
    """Something that is fed; to be closed at the end."""

    name: str

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Give back what it holds."""

    @abstractmethod
    def make(self, dice: random.Random) -> Case:
        """Make a case by chance alone: the same dice give the same case."""

    @abstractmethod
    def run(self, case: Case) -> int:
        """Feed it; how many lines or chunks it took, which are fewer where one ended it.

        Raises: Finding, or whatever the code itself raises, which is one too.
        """


def require(holds: object, otherwise: str) -> None:
    """Raise `Finding` with that text unless the condition holds."""
    if not holds:
        raise Finding(otherwise)


def to_json(target: str, case: Case, found: str) -> str:
    """Return a case as the text of a file."""
    steps = [_step_to_json(step) for step in case]
    return json.dumps({"target": target, "found": found, "steps": steps}, indent=1) + "\n"


def from_json(text: str) -> tuple[str, Case]:
    """Return the target's name and the case from the text of a file."""
    value = json.loads(text)
    return value["target"], [_step_from_json(step) for step in value["steps"]]


def _step_to_json(step: Step) -> Any:
    if isinstance(step, Do):
        return {"do": step.name}
    try:
        return step.decode()
    except UnicodeDecodeError:
        return {"hex": step.hex()}


def _step_from_json(step: Any) -> Step:
    if isinstance(step, str):
        return step.encode()
    if "repeat" in step:
        return _step_from_json(step["repeat"]) * int(step["times"])  # type: ignore[return-value]
    if "join" in step:
        return b"".join(map(_step_from_json, step["join"]))  # type: ignore[arg-type]
    return Do(step["do"]) if "do" in step else bytes.fromhex(step["hex"])


def smaller(target: Target, case: Case) -> Case:
    """Return the case without the steps that its finding does not need."""
    kind = kind_of(failure_of(target, case))
    size = max(len(case) // 2, 1)
    while size:
        start = 0
        while start < len(case):
            shorter = case[:start] + case[start + size :]
            if kind_of(failure_of(target, shorter)) == kind:
                case = shorter
            else:
                start += size
        size //= 2
    return case


def kind_of(found: str | None) -> str:
    """Return the part of a finding that findings of one cause mostly have in common."""
    return "" if found is None else found[:48]


def failure_of(target: Target, case: Case) -> str | None:
    """Run a case; return what went wrong in words, or None."""
    try:
        target.run(case)
    except Exception as error:
        return words_for(error)
    return None


def words_for(error: Exception) -> str:
    """Return a finding in words."""
    return f"{type(error).__name__}: {error}"[:500]
