"""Writes the members of a call in order: those not needed may be left out, and all may be counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..schemas.branches import Unenforceable
from ..schemas.members import Members


class Counting:
    """The rules for some members, each a term and True if it is needed, and for any ``other`` behind.

    ``rule`` adds a rule and returns its name. ``comma`` is the term between two members.
    """

    def __init__(
        self,
        named: Sequence[tuple[str, bool]],
        other: str | None,
        members: Members,
        rule: Callable[[str], str],
        comma: str = "",
    ) -> None:
        self._named = named
        self._other = other
        self._rule = rule
        self._comma = comma
        self._least = _number(members.least.schema, 0)
        self._most = _number(members.most.schema, -1)
        self._places = members.least, members.most
        self._known: dict[tuple[int, int], str | None] = {}

    def terms(self) -> str:
        """Return terms for all members. Raises: Unenforceable for a number that can't be ensured."""
        least, most = self._places
        needed = sum(need for _, need in self._named)
        if 0 <= self._most < needed:
            raise Unenforceable(most.path, "more properties are required")
        if self._least > max(needed, 1) and self._least > len(self._named):
            reason = "names that the model chooses could repeat, and count twice"
            raise Unenforceable(least.path, reason)
        if not self._comma and self._least <= needed and self._most < 0:
            terms = [term if need else f"{term}?" for term, need in self._named]
            return " ".join([*terms, *([f"{self._other}*"] if self._other else [])])
        found = self._rest(0, 0)
        if found is None:
            raise Unenforceable(least.path or most.path, "no object has so many properties")
        return found

    def _rest(self, at: int, given: int) -> str | None:
        """Return a rule for the members from ``at`` on, after ``given`` ones; None if none can follow."""
        if self._most < 0:
            given = min(given, max(self._least, 1))
        if (at, given) not in self._known:
            self._known[at, given] = self._written(at, given)
        return self._known[at, given]

    def _written(self, at: int, given: int) -> str | None:
        if 0 <= self._most < given:
            return None
        if at == len(self._named):
            return self._others(given)
        term, need = self._named[at]
        ways = [] if need or (left_out := self._rest(at + 1, given)) is None else [left_out]
        if (behind := self._rest(at + 1, given + 1)) is not None:
            ways.append(f"{self._comma if given else ''} {term} {behind}")
        return self._rule(" | ".join(ways)) if ways else None

    def _others(self, given: int) -> str | None:
        missing = max(0, self._least - given)
        if self._other is None or given == self._most:
            return self._rule('""') if not missing else None
        if missing > 1:
            return None
        most = "" if self._most < 0 else self._most - given
        if given:
            return self._rule(f"({self._comma} {self._other}){{{missing},{most}}}")
        rest = "" if self._most < 0 else self._most - 1
        more = f"({self._comma} {self._other}){{0,{rest}}}" if rest != 0 else ""
        listed = f"{self._other} {more}"
        return self._rule(listed if missing else f"({listed})?")


def _number(value: object, default: int) -> int:
    return int(value) if isinstance(value, int | float) else default
