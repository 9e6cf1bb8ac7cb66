"""News in words: both languages, and nothing in them that somebody else could use."""

from __future__ import annotations

import string
from typing import get_args

import pytest

from one_api.observe.alerts import KINDS, Alert, News
from one_api.observe.alerts.board import State
from one_api.observe.alerts.levels import REPEAT_S, Levels
from one_api.observe.alerts.message import MAX_LINES, compose
from one_api.observe.alerts.news import MAX_CHARS, Language


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


class TestWords:
    @pytest.mark.parametrize("kind", KINDS)
    def test_both_languages_tell_the_same(self, kind: str) -> None:
        en, zh = KINDS[kind].en, KINDS[kind].zh
        assert places(en.trouble) == places(zh.trouble)
        assert places(en.over) == places(zh.over)
        assert bool(en.over) == bool(zh.over)
        assert en.trouble != zh.trouble

    @pytest.mark.parametrize("language", get_args(Language))
    def test_facts_fill_in_the_sentence(self, language: Language) -> None:
        news = News("budget_low", "team (key_1, day)", {"percent": 83})
        assert "team (key_1, day)" in news.sentence(language)
        assert "83" in news.sentence(language)

    def test_a_fact_that_nobody_told_is_a_dash(self) -> None:
        assert "Deployment a/m is left aside: -" == News("breaker_opened", "a/m").sentence("en")

    def test_a_fact_is_no_place_to_fill_in(self) -> None:
        news = News("breaker_opened", "{reason}", {"reason": "{subject.__class__}"})
        assert "Deployment {reason} is left aside: {subject.__class__}" == news.sentence("en")


class TestCleaning:
    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("m\n🟢 All is well", "m 🟢 All is well"),
            ("m\r\u2028x", "m x"),
            ("m\u202ereversed\u200b", "m reversed"),
            ("\x1b[31mred", "[31mred"),
            ("https://evil.example/login", "https:/ /evil.example/login"),
            ("sk-proj-0123456789abcdef", "[redacted]"),
            ("x" * 500, "x" * (MAX_CHARS - 1) + "…"),
        ],
        ids=["line break", "separators", "direction", "terminal", "link", "key", "length"],
    )
    def test_what_others_named_is_one_short_harmless_line(self, given: str, told: str) -> None:
        news = News("breaker_opened", given, {"reason": given})
        assert told == news.subject
        assert told == news.facts["reason"]

    def test_a_megabyte_is_not_read_to_its_end(self) -> None:
        assert MAX_CHARS == len(News("model_down", "y" * 10**6).subject)


class TestMessages:
    @pytest.mark.parametrize(
        ("states", "en", "zh"),
        [
            (["open"], "one_api on h: 1 problem", "one_api 告警（h）：1 个问题"),
            (["over"], "one_api on h: 1 over", "one_api 告警（h）：1 个已恢复"),
            (
                ["open", "over", "still_open"],
                "one_api on h: 2 problems, 1 over",
                "one_api 告警（h）：2 个问题，1 个已恢复",
            ),
        ],
        ids=["trouble", "end", "both"],
    )
    def test_the_title_counts(self, states: list[State], en: str, zh: str) -> None:
        alerts = [Alert(News("model_down", str(i)), state) for i, state in enumerate(states)]
        assert en == compose(alerts, "h").title
        assert zh == compose(alerts, "h", "zh").title

    def test_trouble_its_end_and_its_going_on_look_different(self) -> None:
        trouble, end = News("model_down", "m"), News("model_down", "m", is_recovery=True)
        message = compose([Alert(trouble), Alert(trouble, "still_open"), Alert(end, "over")], "h")
        assert (
            "🔴 All deployments of model m are down",
            "🔴 All deployments of model m are down (still)",
            "🟢 Model m is served again",
        ) == message.lines

    @pytest.mark.parametrize(
        ("language", "last"), [("en", "... and 12 more"), ("zh", "……另有 12 条")]
    )
    def test_of_many_the_rest_is_a_number(self, language: Language, last: str) -> None:
        alerts = [Alert(News("model_down", str(i))) for i in range(MAX_LINES + 5)]
        message = compose(alerts, "h", language, dropped=7)
        assert MAX_LINES + 1 == len(message.lines)
        assert last == message.lines[-1]
        assert (MAX_LINES, 12) == (len(message.to_wire()["alerts"]), message.left_out)


class TestLevels:
    def test_what_stays_is_news_once_a_minute_and_its_end_once(self) -> None:
        levels = Levels()
        there = [News("redis_lost", "redis")]

        def told(there: list[News], now_s: float) -> list[bool]:
            return [news.is_recovery for news in levels.update("redis_lost", there, now_s)]

        assert [False] == told(there, 1000.0)
        assert {"redis"} == levels.subjects("redis_lost")
        assert [] == told(there, 1005.0)
        assert [False] == told(there, 1000.0 + REPEAT_S)
        assert [True] == told([], 1070.0)
        assert [] == told([], 1075.0)
