"""Calls as DeepSeek V3.2 and later write them: tags with `｜DSML｜`, and types as attributes."""

from __future__ import annotations

from typing import ClassVar

from .syntax.invocations import Invocations

_FUNCTION_CALLS = "<｜DSML｜function_calls>"
_TOOL_CALLS = "<｜DSML｜tool_calls>"


class Dsml(Invocations):
    """A section of calls. Both marks are understood; ``section`` is the grammar's.

    After a long context the models forget the section's mark, and begin with a call.
    """

    name: ClassVar[str] = "dsml"
    enforces_strict: ClassVar[bool] = False
    openings: tuple[str, ...] = (_FUNCTION_CALLS, _TOOL_CALLS, "<｜DSML｜invoke name=")
    prefix: ClassVar[str] = "｜DSML｜"
    typed: ClassVar[bool] = True

    def __init__(self, section: str = _FUNCTION_CALLS) -> None:
        super().__init__(section)

    @classmethod
    def of_template(cls, template: str) -> Dsml:
        """Return the family with the section that a model's template renders."""
        return cls(_FUNCTION_CALLS if "function_calls>" in template else _TOOL_CALLS)
