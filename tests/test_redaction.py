"""Known secrets in bytes that come in pieces."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from one_api.redaction import Mask

SECRETS = ("abab" * 4, "abc-key-" * 2, "é-key-é-key-é-key")
#: Much that begins a secret, and little else.
TEXT = st.lists(
    st.sampled_from([*SECRETS, "abab", "ab", "a", "abc-key", "-", "é-key", "\n", "x"])
).map("".join)


def fed(mask: Mask, pieces: list[bytes]) -> list[bytes]:
    return [*map(mask.feed, pieces), mask.rest()]


@given(TEXT, st.lists(st.integers(0, 60)))
def test_wherever_it_is_cut_no_secret_gets_through_and_no_byte_is_lost(
    text: str, cuts: list[int]
) -> None:
    data = text.encode()
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[begin:end] for begin, end in itertools.pairwise(ends)]

    told = b"".join(fed(Mask(SECRETS), pieces))

    assert len(data) == len(told)
    assert [] == [secret for secret in SECRETS if secret.encode() in told]
    assert all(a == b or b == ord("*") for a, b in zip(data, told, strict=True))


def test_only_what_may_begin_a_secret_waits() -> None:
    pieces = [b"data: x\n\n", b"a sec", b"ured s", b"ecret-credential!"]

    assert [b"data: x\n\n", b"a ", b"secured ", b"*" * 17 + b"!", b""] == fed(
        Mask(["secret-credential"]), pieces
    )


def test_without_a_secret_everything_passes_at_once() -> None:
    assert [b"a", b"", b"b", b""] == fed(Mask([""]), [b"a", b"", b"b"])


def test_what_may_be_a_word_is_no_secret() -> None:
    assert [b"I am ollama.", b""] == fed(Mask(["ollama"]), [b"I am ollama."])


def test_a_line_is_masked_as_a_whole() -> None:
    mask = Mask(["secret-credential"])

    assert f"wait for {'*' * 17} \udce9" == mask.line("wait for secret-credential \udce9")
