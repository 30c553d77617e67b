"""Stop strings on text, however it was cut into tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.text import TextAssembler


class Pieces:
    """A detokenizer whose tokens are places in a list; ``rest`` is what it holds at the end."""

    def __init__(self, pieces: list[str], rest: str = "") -> None:
        self._pieces = pieces
        self._rest = rest

    def add_token(self, token: int) -> str:
        return self._pieces[token]

    def finalize(self) -> str:
        return self._rest


def assemble(pieces: list[str], *stops: str, rest: str = "") -> tuple[list[str], bool]:
    """Return what is sent after each token and at the end, and True if a stop string came."""
    assembler = TextAssembler(Pieces(pieces, rest), stops)
    sent: list[str] = []
    for token in range(len(pieces)):
        sent.append(assembler.add_token(token))
        if assembler.stopped:
            break
    sent.append(assembler.finish())
    return sent, assembler.stopped


def naive(text: str, stops: tuple[str, ...]) -> str:
    """Return the text up to the first complete stop string, read by characters.

    Of two that are complete at the same character the longer one counts.
    """
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


@pytest.mark.parametrize(
    ("pieces", "stops", "sent"),
    [
        (["ab", "c"], (), ["ab", "c", ""]),
        (["one", " END", " two"], ("END",), ["one", " ", ""]),
        (["a E", "N", "D b"], ("END",), ["a ", "", "", ""]),
        (["a E", "N", "x"], ("END",), ["a ", "", "ENx", ""]),
        (["a E", "N"], ("END",), ["a ", "", "EN"]),
        (["a", "a", "a", "b"], ("aab",), ["", "", "a", "", ""]),
        (["x\n", "\n", "\ny"], ("\n\n",), ["x", "", ""]),
        (["ab", "cd"], ("bcx", "cd"), ["a", "b", ""]),
        (["abc"], ("c", "b"), ["a", ""]),
        (["END"], ("END",), ["", ""]),
        (["abcd"], ("abcd", "bc"), ["a", ""]),
        (["a", "b", "c", "d"], ("abcd", "bc"), ["", "", "a", ""]),
    ],
)
def test_each_piece_is_sent_as_soon_as_no_stop_string_can_begin_in_it(
    pieces: list[str], stops: tuple[str, ...], sent: list[str]
) -> None:
    assert assemble(pieces, *stops)[0] == sent


def test_what_the_detokenizer_held_back_may_complete_a_stop_string() -> None:
    assert assemble(["a S"], "STOP", rest="TOP b") == (["a ", ""], True)
    assert assemble(["a S"], "STOP", rest="T") == (["a ", "ST"], False)


def test_after_a_stop_string_nothing_comes_any_more() -> None:
    assembler = TextAssembler(Pieces(["aSTOPb"], "c"), ("STOP",))

    assert assembler.add_token(0) == "a"
    assert assembler.finish() == ""


LETTERS = "ab🚀"
PIECES = st.lists(st.text(LETTERS, max_size=4), max_size=12)
STOPS = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4).map(tuple)


@settings(max_examples=300)
@given(pieces=PIECES, stops=STOPS, rest=st.text(LETTERS, max_size=3))
def test_the_pieces_are_the_text_up_to_the_first_stop_string(
    pieces: list[str], stops: tuple[str, ...], rest: str
) -> None:
    sent, stopped = assemble(pieces, *stops, rest=rest)

    whole = "".join(pieces) + rest
    assert "".join(sent) == naive(whole, stops)
    assert stopped == any(stop in whole for stop in stops)


@given(pieces=PIECES, stops=STOPS)
def test_no_more_is_held_back_than_could_begin_a_stop_string(
    pieces: list[str], stops: tuple[str, ...]
) -> None:
    assembler = TextAssembler(Pieces(pieces), stops)
    sent = ""
    for token in range(len(pieces)):
        sent += assembler.add_token(token)
        if assembler.stopped:
            return
        held = "".join(pieces[: token + 1])[len(sent) :]
        assert not held or any(stop.startswith(held) for stop in stops)
