from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api_claude.fences import FenceStripper


def strip(*pieces: str) -> str:
    stripper = FenceStripper()
    return "".join([*(stripper.feed(piece) for piece in pieces), stripper.close()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1}', '{"a":1}'),
        ('```json\n{"a":1}\n```', '{"a":1}'),
        ('\n```\n{"a":1}\n```\n', '{"a":1}'),
        ('```JSON  \r\n{"a":1}\r\n```', '{"a":1}'),
        ('```json\n{"a":"```"}\n```', '{"a":"```"}'),
        ('```json\n{"a":1}', '{"a":1}'),
        ('{"a":1}\n```', '{"a":1}\n```'),
        ("```json\n{}\n``` and more", "{}\n``` and more"),
        ("``", "``"),
        (" \n", " \n"),
        ("", ""),
        ("````\nx", "````\nx"),
    ],
)
def test_only_a_fence_around_everything_is_taken_off(text: str, expected: str) -> None:
    assert expected == strip(text)
    assert expected == strip(*text)


FENCE_LIKE = st.text(alphabet="`jsonX{} \n\r\t", max_size=24)


@settings(deadline=None)
@given(st.lists(FENCE_LIKE, max_size=6))
def test_pieces_do_not_matter(pieces: list[str]) -> None:
    assert strip("".join(pieces)) == strip(*pieces)


@settings(deadline=None)
@given(st.text(max_size=20).filter(lambda text: "`" not in text and text == text.strip()))
def test_what_is_inside_is_untouched(text: str) -> None:
    assert text == strip(f"```json\n{text}\n```")
