"""The Jinja environment of chat templates: that of transformers, blind to the marks in messages.

The worker marks what could become a control token in a message (`control_tokens.py`). A template
must decide as it does without marks, so it compares, finds and cuts texts as if they were unmarked;
only its output has them.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes, pass_environment, pass_eval_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer


class Generation(Extension):
    """Accepts `{% generation %}…{% endgeneration %}`, and renders what stands between them."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the block into a call that returns its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller: Any) -> Any:
        return caller()


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which a template compares, finds and cuts marked messages as if unmarked."""

    mark = ""

    def plain(self, value: Any) -> Any:
        """Return a value without marks."""
        if not self.mark:
            return value
        if isinstance(value, str):
            return value.replace(self.mark, "")
        if isinstance(value, (list, tuple)):
            return [self.plain(item) for item in value]
        if isinstance(value, dict):
            return {self.plain(key): self.plain(item) for key, item in value.items()}
        return value

    def cut(self, value: Any, start: Any = None, stop: Any = None, step: Any = None) -> Any:
        """Slice a text by its places without marks; the slice keeps its marks."""
        if not self._marked(value) or step not in (None, 1):
            return value[start:stop:step]
        places = [index for index, char in enumerate(value) if char != self.mark]
        kept = range(len(places))[start:stop]
        if not kept:
            return ""
        # With the marks on both sides: either piece may be joined to another text.
        begin = places[kept[0] - 1] + 1 if kept[0] else 0
        end = places[kept[-1] + 1] if kept[-1] + 1 < len(places) else len(value)
        return value[begin:end]

    def characters(self, value: Any) -> Any:
        """Split a marked text into characters, each with its marks; return another value as it is."""
        if not self._marked(value):
            return value
        mark = re.escape(self.mark)
        found: list[str] = re.findall(f"^{mark}+|[^{mark}]{mark}*", value, re.DOTALL)
        return found

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item; the character of a marked text at a place keeps its marks."""
        if self._marked(obj) and isinstance(argument, int):
            found = self.cut(obj, argument, argument + 1 or None)
            return found or self.undefined(obj=obj, name=str(argument))
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a method of a text so that marks neither hinder nor count."""
        owner = getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "")
        if __self._marked(owner) and name in _METHODS:
            # Jinja's compiled code also passes its own `_loop_vars` and `_block_vars`.
            own = {key: value for key, value in kwargs.items() if not key.startswith("_")}
            if "sep" in own:
                args = (own.pop("sep"), *args)
            sought = __self.plain(args[0]) if args else None
            if name in _CUTTING and isinstance(sought, str) and sought:
                # Only what is sought is compared; a new text goes to the output with its marks.
                return _CUTTING[name](__self._pattern(sought), owner, *args[1:], **own)
            if name in _ASKING:
                return getattr(__self.plain(owner), name)(*map(__self.plain, args), **own)
        return super().call(__context, __obj, *args, **kwargs)

    def _marked(self, value: Any) -> bool:
        return bool(self.mark) and isinstance(value, str) and self.mark in value

    def _pattern(self, text: str) -> re.Pattern[str]:
        """Return a pattern for a text with marks in it; those behind it stay with what follows."""
        return re.compile(f"{re.escape(self.mark)}*".join(map(re.escape, text)))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Slices().visit(super()._parse(source, name, filename))
        for compare in tree.find_all(nodes.Compare):
            compare.expr = _filter(compare.expr, "plain_text")
            for operand in compare.ops:
                operand.expr = _filter(operand.expr, "plain_text")
        for loop in tree.find_all(nodes.For):
            loop.iter = _filter(loop.iter, "characters")
        return tree


class _Slices(NodeTransformer):
    """Turns slices into a filter: Jinja's compiled code asks no environment for them."""

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802 (Jinja's name)
        """Return the call of the filter for a slice, and any other item as it is."""
        self.generic_visit(node)
        part = node.arg
        if not isinstance(part, nodes.Slice):
            return node
        none = nodes.Const(None, lineno=node.lineno)
        return _filter(
            node.node, "cut", *(n or none for n in (part.start, part.stop, part.step))
        )


def _filter(node: nodes.Node, name: str, *arguments: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _rsplit(pattern: re.Pattern[str], text: str, maxsplit: int = -1) -> list[str]:
    found = list(pattern.finditer(text))
    pieces, end = [], len(text)
    for one in reversed(found if maxsplit < 0 else found[max(len(found) - maxsplit, 0) :]):
        pieces.append(text[one.end() : end])
        end = one.start()
    return [*reversed([*pieces, text[:end]])]


def _split(pattern: re.Pattern[str], text: str, maxsplit: int = -1) -> list[str]:
    return [text] if maxsplit == 0 else pattern.split(text, max(maxsplit, 0))


def _partition(pattern: re.Pattern[str], text: str) -> tuple[str, str, str]:
    found = pattern.search(text)
    return (text[: found.start()], found[0], text[found.end() :]) if found else (text, "", "")


def _replace(pattern: re.Pattern[str], text: str, new: str, count: int = -1) -> str:
    return text if count == 0 else pattern.sub(lambda _: new, text, max(count, 0))


def _rpartition(pattern: re.Pattern[str], text: str) -> tuple[str, str, str]:
    found = list(pattern.finditer(text))
    if not found:
        return "", "", text
    last = found[-1]
    return text[: last.start()], last[0], text[last.end() :]


def _removesuffix(pattern: re.Pattern[str], text: str) -> str:
    found = list(pattern.finditer(text))
    return text[: found[-1].start()] if found and found[-1].end() == len(text) else text


def _removeprefix(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return text[found.end() :] if found else text


_CUTTING: dict[str, Callable[..., Any]] = {
    "split": _split,
    "rsplit": _rsplit,
    "partition": _partition,
    "replace": _replace,
    "removeprefix": _removeprefix,
    "removesuffix": _removesuffix,
    "rpartition": _rpartition,
}
_ASKING = frozenset({"startswith", "endswith", "find", "rfind", "index", "rindex", "count"})
_METHODS = _ASKING | _CUTTING.keys()


class _Dict:
    """The function `dict` of templates, without the attributes of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def make_environment() -> ChatEnvironment:
    """Create the sandbox with the filters and functions that chat templates expect."""
    environment = ChatEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["plain_text"] = environment.plain
    environment.filters["cut"] = environment.cut
    environment.filters["characters"] = environment.characters
    for name, place in (("first", 0), ("last", -1)):
        environment.filters[name] = _at(place, environment.filters[name])
    environment.filters["list"] = lambda value: list(environment.characters(value))
    for name in ("length", "count"):
        environment.filters[name] = lambda value: len(
            environment.plain(value) if isinstance(value, str) else value
        )
    replace = environment.filters["replace"]
    environment.filters["replace"] = pass_eval_context(
        lambda context, value, old, new, count=None: (
            _replace(
                environment._pattern(environment.plain(old)),
                value,
                new,
                -1 if count is None else count,
            )
            if environment._marked(value) and old
            else replace(context, value, old, new, count)
        )
    )
    for name in ("in", "==", "eq", "equalto", "!=", "ne"):
        test: Any = environment.tests[name]
        environment.tests[name] = _of_plain(environment, test)
    environment.globals["dict"] = _Dict()
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _at(place: int, theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Return the filter `first` or `last`, which would read a text without the environment."""

    @pass_environment
    def at(environment: ChatEnvironment, value: Any) -> Any:
        if environment._marked(value):
            return environment.getitem(value, place)
        return theirs(environment, value)

    return at


def _of_plain(environment: ChatEnvironment, test: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value, *others: test(
        environment.plain(value), *map(environment.plain, others)
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write a value as JSON, without the HTML escapes of Jinja's own filter."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
