"""API keys: who is let in, and that nothing else is learnt."""

from __future__ import annotations

import hmac

import pytest

from one_api.errors import AuthenticationFailed
from one_api.policy.auth import KeyRing, bearer_token, key_id

KEYS = ["sk-first-key", "sk-second-key", "sk-third-key"]


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_under_its_own_id(key: str) -> None:
    assert key_id(key) == KeyRing(KEYS).authenticate(key, fallback_id="address").id


@pytest.mark.parametrize(
    "presented",
    [
        None,
        "",
        " ",
        "sk-first-ke",
        "sk-first-key ",
        "SK-FIRST-KEY",
        "sk-first-key,sk-second-key",
        "é",
    ],
)
def test_anything_else_is_refused_in_the_same_words(presented: str | None) -> None:
    """Whether a key was missing, near or far is nobody's business."""
    ring = KeyRing(KEYS)
    with pytest.raises(AuthenticationFailed) as wrong:
        ring.authenticate("sk-no-such-key", fallback_id="address")

    with pytest.raises(AuthenticationFailed) as caught:
        ring.authenticate(presented, fallback_id="address")

    assert wrong.value.to_wire() == caught.value.to_wire()


@pytest.mark.parametrize("presented", [*KEYS, "sk-no-such-key", None])
def test_work_is_the_same_whichever_key_comes(
    presented: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key is compared in full: how long that takes tells nothing."""
    compared = []
    compare = hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    ring = KeyRing(KEYS)
    try:
        ring.authenticate(presented, fallback_id="address")
    except AuthenticationFailed:
        assert presented not in KEYS

    assert [(32, 32)] * len(KEYS) == compared


def test_ring_without_keys_lets_everybody_in_by_address() -> None:
    ring = KeyRing([])

    assert ring.is_open
    assert "192.0.2.7" == ring.authenticate(None, fallback_id="192.0.2.7").id
    assert "192.0.2.7" == ring.authenticate("any", fallback_id="192.0.2.7").id
    assert not KeyRing(KEYS).is_open


def test_ids_differ_and_reveal_nothing() -> None:
    ids = [key_id(key) for key in KEYS]

    assert len(KEYS) == len(set(ids))
    for key, id_ in zip(KEYS, ids, strict=True):
        assert id_.startswith("key_")
        assert not any(key[at : at + 4] in id_ for at in range(len(key) - 3))


def test_ring_does_not_show_its_keys() -> None:
    ring = KeyRing(KEYS)

    shown = f"{ring!r} {vars(ring)!r}"

    assert not any(key in shown for key in KEYS)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a-key", "a-key"),
        ("bearer a-key", "a-key"),
        ("BEARER   a-key  ", "a-key"),
        ("Basic a-key", None),
        ("a-key", None),
        ("Bearera-key", None),
        ("Bearer a b", "a b"),
    ],
)
def test_bearer_token(header: str | None, token: str | None) -> None:
    assert token == bearer_token(header)
