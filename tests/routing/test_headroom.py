"""Providers' rate-limit headers: what they mean, and what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from one_api.routing.headroom import parse_reset_s, read_rate_windows
from tests.routing.worlds import WALL_S, World, deployment

#: 2026-09-21T14:13:20Z is WALL_S.
IN_30_S = "2026-09-21T14:13:50Z"


@pytest.mark.parametrize(
    ("value", "reset_s"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("850ms", 0.85),
        ("12ms", 0.012),
        ("1m30.951s", 90.951),
        ("1h2m3s", 3_723.0),
        ("2d", 172_800.0),
        ("7", 7.0),
        ("0", 0.0),
        (" 59.5 ", 59.5),
        (IN_30_S, 30.0),
        ("2026-09-21T16:13:50+02:00", 30.0),
        ("2026-09-21T14:13:50.250Z", 30.25),
        ("2026-09-21T14:13:00Z", 0.0),
        ("-5", 0.0),
        ("", None),
        (" ", None),
        (None, None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1x", None),
        ("9" * 100 + "s", None),
    ],
)
def test_reset(value: str | None, reset_s: float | None) -> None:
    result = parse_reset_s(value, wall_now_s=WALL_S)

    assert (None if reset_s is None else pytest.approx(reset_s)) == result


@given(
    st.dictionaries(
        st.sampled_from(
            [
                f"x-ratelimit-{value}-{kind}"
                for value in ("remaining", "limit", "reset")
                for kind in ("requests", "tokens")
            ]
        ),
        st.text() | st.from_regex(r"[0-9.eE+\-]{1,80}|[0-9]{1,9}(ms|s|m|h|d)", fullmatch=True),
    )
)
def test_nonsense_in_headers_does_no_harm(headers: dict[str, str]) -> None:
    windows = read_rate_windows(headers, now_s=5.0, wall_now_s=WALL_S, longest_s=600.0)

    for window in windows:
        assert window.remaining >= 0
        assert window.resets_at_s is None or 5.0 <= window.resets_at_s <= 605.0


class AsSent(dict[str, str]):
    """Headers that keep how their names are spelled, and are found by any spelling."""

    @override
    def get(self, name: str, default: Any = None) -> Any:
        found = (value for key, value in self.items() if key.lower() == name.lower())
        return next(found, default)


def test_names_of_headers_may_be_spelled_in_any_way() -> None:
    headers = AsSent({"Date": "today", "X-RateLimit-Remaining-Requests": "7"})

    (window,) = read_rate_windows(headers, now_s=5.0, wall_now_s=WALL_S, longest_s=600.0)

    assert ("requests", 7.0) == (window.kind, window.remaining)


def openai(kind: str, remaining: str, limit: str, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-remaining-{kind}": remaining,
        f"x-ratelimit-limit-{kind}": limit,
        f"x-ratelimit-reset-{kind}": reset,
    }


def anthropic(kind: str, remaining: str, limit: str, reset: str) -> dict[str, str]:
    return {
        f"anthropic-ratelimit-{kind}-remaining": remaining,
        f"anthropic-ratelimit-{kind}-limit": limit,
        f"anthropic-ratelimit-{kind}-reset": reset,
    }


@pytest.mark.parametrize(
    ("headers", "away_s"),
    [
        (openai("requests", "0", "60", "30s"), 30.0),
        (openai("requests", "1", "6000", "30s"), 0.0),
        (openai("tokens", "99", "10000", "6m0s"), 360.0),
        (openai("tokens", "100", "10000", "6m0s"), 0.0),
        (openai("tokens", "0", "10000", "9h0m0s"), 600.0),
        (openai("tokens", "-1", "-1", "30"), 0.0),
        (openai("requests", "0", "60", "soon"), 0.0),
        (openai("requests", "0", "60", "1s") | openai("tokens", "0", "9", "8s"), 8.0),
        (anthropic("requests", "0", "50", IN_30_S), 30.0),
        (anthropic("tokens", "0", "50000", IN_30_S), 30.0),
        (anthropic("input-tokens", "400", "50000", IN_30_S), 30.0),
        (anthropic("output-tokens", "0", "8000", IN_30_S), 30.0),
        (anthropic("output-tokens", "8000", "8000", IN_30_S), 0.0),
        ({"x-ratelimit-remaining-requests": "0"}, 0.0),
        ({}, 0.0),
    ],
)
def test_about_to_be_refused_is_avoided_until_the_reset(
    headers: dict[str, str], away_s: float
) -> None:
    world = World()
    first, second = deployment("a"), deployment("b")
    trial = world.begin(first)
    trial.note_headers(headers)
    trial.succeed()

    assert ("b" if away_s else "ab") == world.listed([first, second])
    [state] = world.router.states([first])
    assert pytest.approx(away_s) == state.avoided_s
    world.clock.advance(away_s)
    assert "ab" == world.listed([first, second])


def test_later_headers_replace_earlier_ones() -> None:
    world = World()
    one, other = deployment("a"), deployment("b")
    trial = world.begin(one)
    trial.note_headers(openai("requests", "0", "60", "30s"))
    trial.note_headers(openai("tokens", "5000", "10000", "1s"))
    assert "b" == world.listed([one, other])

    trial.note_headers(openai("requests", "59", "60", "1s"))

    assert "ab" == world.listed([one, other])


def test_about_to_be_refused_is_still_asked_where_nothing_else_is_left() -> None:
    world = World()
    one = deployment("a")
    trial = world.begin(one)
    trial.note_headers(openai("requests", "0", "60", "30s"))

    plan = world.router.plan([one])

    assert ((one,), True) == (plan.deployments, plan.is_last_resort)
    assert world.router.begin(one, is_last_resort=True) is not None
