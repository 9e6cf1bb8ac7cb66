"""Stop sequences end the text at the same place however the text is cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.adapter import StopScanner


def scan(pieces: Iterable[str], stops: Iterable[str]) -> tuple[str, str | None]:
    scanner = StopScanner(stops)
    text = "".join(scanner.feed(piece) for piece in pieces)
    return text + scanner.close(), scanner.matched


def cut_at_first(text: str, stops: Iterable[str]) -> tuple[str, str | None]:
    """The whole text up to the first stop sequence, as plainly as can be."""
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    at, stop = min(found)
    return text[:at], stop


@st.composite
def unnested_stops(draw: st.DrawFn) -> list[str]:
    """Stop sequences of which none is part of another: the first match is unambiguous."""
    drawn = draw(st.lists(st.text(alphabet="ab", max_size=4), max_size=4, unique=True))
    return [
        stop
        for stop in drawn
        if not any(other and other != stop and other in stop for other in drawn)
    ]


@given(pieces=st.lists(st.text(alphabet="abc", max_size=5), max_size=12), stops=unnested_stops())
@settings(deadline=None)
def test_any_text_cut_anywhere_ends_where_the_whole_would(
    pieces: list[str], stops: list[str]
) -> None:
    assert cut_at_first("".join(pieces), stops) == scan(pieces, stops)


@given(pieces=st.lists(st.text(alphabet="abc", max_size=5)), stops=unnested_stops())
@settings(deadline=None)
def test_nothing_is_held_back_that_cannot_begin_a_stop(pieces: list[str], stops: list[str]) -> None:
    scanner = StopScanner(stops)
    seen = given = ""
    for piece in pieces:
        seen += piece
        given += scanner.feed(piece)
        if scanner.matched is None:
            held = seen.removeprefix(given)
            assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["Hello", " world"], [], ("Hello world", None)),
        (["Hello", " world"], ["\n"], ("Hello world", None)),
        (["one\ntwo"], ["\n"], ("one", "\n")),
        (["a<", "|en", "d|>b"], ["<|end|>"], ("a", "<|end|>")),
        (["a<|e", "x"], ["<|end|>"], ("a<|ex", None)),
        (["a<|e"], ["<|end|>"], ("a<|e", None)),
        (["aa", "ab"], ["aab"], ("a", "aab")),
        (["END"], ["END"], ("", "END")),
        (["x", "", "y"], ["", "y"], ("x", "y")),
        (["\U0001f600", "\U0001f601"], ["\U0001f601"], ("\U0001f600", "\U0001f601")),
    ],
)
def test_examples(pieces: list[str], stops: list[str], expected: tuple[str, str | None]) -> None:
    assert expected == scan(pieces, stops)


def test_nothing_comes_after_a_match() -> None:
    scanner = StopScanner(["."])
    assert ["One", "", "", ""] == [
        scanner.feed("One. Two."),
        scanner.feed("Three"),
        scanner.close(),
        scanner.feed("."),
    ]
    assert "." == scanner.matched


def test_text_passes_at_once_without_stops() -> None:
    scanner = StopScanner([""])
    assert ["a", ""] == [scanner.feed("a"), scanner.close()]
