"""API keys: who is let in, and that nothing else is learnt."""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest

from one_api.errors import AuthenticationFailed
from one_api.policy.auth import (
    NO_KEY_LIMITS,
    AdminKey,
    ApiKey,
    KeyLimits,
    KeyRing,
    bearer_token,
    key_id,
)

KEYS = ["sk-first-key", "sk-second-key", "sk-third-key"]


def required(ring: KeyRing, presented: str | None, address: str = "address") -> ApiKey:
    """Who presented the key, as the ring knows without asking a database."""
    caller = ring.authenticate(presented, fallback_id=address)
    assert caller is not None
    return caller


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_under_its_own_id(key: str) -> None:
    assert key_id(key) == required(KeyRing(KEYS), key).id


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
    assert "192.0.2.7" == required(ring, None, "192.0.2.7").id
    assert "192.0.2.7" == required(ring, "any", "192.0.2.7").id
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


LIMITS = KeyLimits(requests_per_minute=5, max_tokens=7)


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [
        (NO_KEY_LIMITS, NO_KEY_LIMITS, NO_KEY_LIMITS),
        (NO_KEY_LIMITS, LIMITS, LIMITS),
        (LIMITS, NO_KEY_LIMITS, LIMITS),
        (KeyLimits(), LIMITS, LIMITS),
        (KeyLimits(requests_per_minute=9), LIMITS, replace(LIMITS, requests_per_minute=9)),
        (KeyLimits(requests_per_minute=0), LIMITS, replace(LIMITS, requests_per_minute=0)),
        (KeyLimits(tokens_per_minute=9), LIMITS, replace(LIMITS, tokens_per_minute=9)),
    ],
)
def test_own_limits_come_before_the_defaults(
    own: KeyLimits, default: KeyLimits, expected: KeyLimits
) -> None:
    assert expected == own.over(default)


def test_ring_takes_other_keys_without_a_pause() -> None:
    ring = KeyRing(KEYS)
    ring.replace(["sk-new-key"])

    assert key_id("sk-new-key") == required(ring, "sk-new-key").id
    with pytest.raises(AuthenticationFailed):
        ring.authenticate(KEYS[0], fallback_id="address")


def test_a_public_ring_without_keys_lets_nobody_in() -> None:
    ring = KeyRing([], is_public=True)

    assert not ring.is_open
    for presented in (None, "any"):
        with pytest.raises(AuthenticationFailed):
            ring.authenticate(presented, fallback_id="address")


async def test_a_ring_without_a_database_asks_none() -> None:
    with pytest.raises(AuthenticationFailed):
        await KeyRing(KEYS).look_up("sk-oa-unknown")


@pytest.mark.parametrize("may_route", [True, False])
def test_callers_of_the_settings_may_what_the_settings_say(may_route: bool) -> None:
    assert may_route is required(KeyRing(KEYS, may_route=may_route), KEYS[0]).may_route
    assert may_route is required(KeyRing([], may_route=may_route), None).may_route


@pytest.mark.parametrize("presented", [None, "", "sk-admi", "sk-admin ", KEYS[0]])
def test_the_admin_s_door_opens_to_its_key_only(presented: str | None) -> None:
    admin = AdminKey("sk-admin")

    assert admin.authenticate("sk-admin").is_admin
    with pytest.raises(AuthenticationFailed):
        admin.authenticate(presented)
