"""What a file says, to the value."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from one_api.adapter.settings import UpstreamSettings
from one_api.deployment import (
    DEFAULT_GROUP,
    BreakerTerms,
    DeploymentLimits,
    Group,
    Price,
    PriceTier,
)
from one_api.upstreams import UpstreamEntry, Upstreams
from tests.upstreams_file.files import DEFAULTS, read, shown

SMALL = """\
authorization: woshimima
upstreams:
  - sk: "secret_key_1"
    endpoint: "https://api.openai.com/v2"
  - sk: "secret_key_2"
    endpoint: "https://api.openai.com/v1"
    timeout: 30
"""

FULL = """\
authorization:
  - ${KEY}
  - second-key
groups:
  near: {strategy: lowest_latency, after_commit: continue, sticky: true, breaker: {failures: 2}}
  far: {probe: false}
aliases:
  fast: small-model
  "gpt-4*": [large-model, other-model]
upstreams:
  - name: eu
    adapter: openai
    sk: ${KEY}
    endpoint: https://${HOST:-eu.example}/v1
    timeouts: {connect: 5, first_content: 8, idle: 60, total: 90.5}
    options: {organization: x, retries: 3, is_new: yes}
    models: [a, "b-*", org/c]
    model_map: {a: upstream-a}
    group: near
    weight: 0.5
    order: -1
    limits: {requests_per_minute: 60, tokens_per_minute: 10_000, concurrent_requests: 4}
    breaker: {failures: 3}
    price: {input: 0.25, output: 2, cached_input: 0.025, cache_write: 0.3, reasoning: 3}
    context_window: 128000
    on_hang_up: drain
    probe: no
  - base_url: http://127.0.0.1:8080/v1
    api_key: other
    models: a
    group: spare
    price:
      a: {input: 0.1, output: 1}
      "*": {input: 0, output: 0}
    context_window: {a: 1000, "*": 2_000}
"""


def test_the_small_form_is_tried_in_the_order_defined(tmp_path: Path) -> None:
    patient = replace(
        DEFAULTS,
        total_s=30.0,
        failover_total_s=30.0,
        first_content_s=30.0,
        failover_first_content_s=30.0,
    )

    expected = Upstreams(
        authorization=(SecretStr("woshimima"),),
        groups=(DEFAULT_GROUP,),
        entries=(
            UpstreamEntry(
                name="upstream-1",
                settings=UpstreamSettings(
                    provider="",
                    api_key=SecretStr("secret_key_1"),
                    base_url="https://api.openai.com/v2",
                ),
                timeouts=DEFAULTS,
                line=3,
            ),
            UpstreamEntry(
                name="upstream-2",
                settings=UpstreamSettings(
                    provider="",
                    api_key=SecretStr("secret_key_2"),
                    base_url="https://api.openai.com/v1",
                ),
                timeouts=patient,
                line=5,
            ),
        ),
        path=tmp_path / "upstreams.yaml",
    )
    assert expected == read(SMALL, tmp_path)


def test_the_full_form_says_everything(tmp_path: Path) -> None:
    near = Group(
        name="near",
        strategy="lowest_latency",
        after_commit="continue",
        sticky=True,
        breaker=BreakerTerms(failures=2),
    )
    spare = Group(name="spare")

    expected = Upstreams(
        authorization=(SecretStr("key-from-environment"), SecretStr("second-key")),
        groups=(near, Group(name="far", probe=False), spare),
        aliases={"fast": ("small-model",), "gpt-4*": ("large-model", "other-model")},
        entries=(
            UpstreamEntry(
                name="eu",
                adapter="openai",
                settings=UpstreamSettings(
                    provider="openai",
                    api_key=SecretStr("key-from-environment"),
                    base_url="https://eu.example/v1",
                    options={"organization": "x", "retries": "3", "is_new": "yes"},
                ),
                timeouts=replace(
                    DEFAULTS,
                    connect_s=5.0,
                    first_content_s=8.0,
                    failover_first_content_s=8.0,
                    idle_s=60.0,
                    total_s=90.5,
                    failover_total_s=90.5,
                ),
                models=("a", "b-*", "org/c"),
                model_map={"a": "upstream-a"},
                group=near,
                weight=0.5,
                order=-1,
                limits=DeploymentLimits(
                    requests_per_minute=60, tokens_per_minute=10_000, concurrent_requests=4
                ),
                breaker=BreakerTerms(failures=3),
                prices={
                    "*": Price(
                        input_usd=Decimal("0.25"),
                        output_usd=Decimal(2),
                        cached_input_usd=Decimal("0.025"),
                        cache_write_usd=Decimal("0.3"),
                        reasoning_usd=Decimal(3),
                    )
                },
                context_windows={"*": 128_000},
                on_hang_up="drain",
                probe=False,
                line=11,
            ),
            UpstreamEntry(
                name="upstream-2",
                settings=UpstreamSettings(
                    provider="", api_key=SecretStr("other"), base_url="http://127.0.0.1:8080/v1"
                ),
                timeouts=DEFAULTS,
                models=("a",),
                group=spare,
                prices={
                    "a": Price(input_usd=Decimal("0.1"), output_usd=Decimal(1)),
                    "*": Price(input_usd=Decimal(0), output_usd=Decimal(0)),
                },
                context_windows={"a": 1_000, "*": 2_000},
                line=28,
            ),
        ),
        path=tmp_path / "upstreams.yaml",
    )
    assert expected == read(FULL, tmp_path)


ENTRIES: list[tuple[str, str, dict[str, Any]]] = [
    ("nothing", "{}", {}),
    ("number_from_variable", "{weight: '${SECONDS}'}", {"weight": 2.5}),
    ("whole_from_variable", "{context_window: '${COUNT}'}", {"context_windows": {"*": 60}}),
    ("exponent", "{weight: 1e-3}", {"weight": 0.001}),
    ("name_from_variable", "{name: 'eu-${COUNT}'}", {"name": "eu-60"}),
    ("model_named_as_number", "{models: ['4', '0.5', 'no']}", {"models": ("4", "0.5", "no")}),
    ("model_named_null", "{model_map: {~: b}}", {"model_map": {"~": "b"}}),
    ("one_limit", "{limits: {requests_per_minute: '${COUNT}'}}",
     {"limits": DeploymentLimits(requests_per_minute=60)}),
    ("breaker", "{breaker: {failures: '${COUNT}', ratio: .25, min_requests: 4, window: 60, "
     "cooldown: '${SECONDS}', growth: 1, max_cooldown: 86400}}",
     {"breaker": BreakerTerms(failures=60, ratio=0.25, min_requests=4, window_s=60.0,
                              cooldown_s=2.5, growth=1.0, max_cooldown_s=86_400.0)}),
    ("breaker_of_one_term", "{breaker: {ratio: 1}}", {"breaker": BreakerTerms(ratio=1.0)}),
    ("exact_price", "{price: {input: 0.1, output: '${USD}'}}",
     {"prices": {"*": Price(input_usd=Decimal("0.1"), output_usd=Decimal("0.125"))}}),
    ("price_of_many_digits", "{price: {input: 0.10000000000000000000000001, output: .5}}",
     {"prices": {"*": Price(input_usd=Decimal("0.10000000000000000000000001"),
                            output_usd=Decimal("0.5"))}}),
    ("price_of_long_prompts",
     "{price: {input: 1, output: 2, cache_write_1h: 3, tiers: ["
     "{above_input_tokens: 200_000, input: 2, output: 3, cached_input: 0.5},"
     "{above_input_tokens: '${COUNT}0000', input: 4, output: 5}]}}",
     {"prices": {"*": Price(
         input_usd=Decimal(1), output_usd=Decimal(2), cache_write_1h_usd=Decimal(3),
         tiers=(
             PriceTier(above_input_tokens=200_000, price=Price(
                 input_usd=Decimal(2), output_usd=Decimal(3), cached_input_usd=Decimal("0.5"))),
             PriceTier(above_input_tokens=600_000, price=Price(
                 input_usd=Decimal(4), output_usd=Decimal(5))),
         ))}}),
    ("undeclared_group", "{group: spare}", {"group": Group(name="spare")}),
    ("model_with_brackets", "{models: 'm[1m]'}", {"models": ("m[1m]",)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "differs"), [case[1:] for case in ENTRIES], ids=[case[0] for case in ENTRIES]
)
def test_an_entry_says_what_it_gives_and_nothing_else(
    text: str, differs: dict[str, Any], tmp_path: Path
) -> None:
    plain = UpstreamEntry(
        name="upstream-1", settings=UpstreamSettings(provider=""), timeouts=DEFAULTS, line=1
    )
    assert replace(plain, **differs) == read(f"upstreams: [{text}]", tmp_path).entries[0]


TIMEOUTS: list[tuple[str, str, dict[str, float]]] = [
    ("none", "{}", {}),
    ("long", "{timeout: 300}", {"total_s": 300, "failover_total_s": 300}),
    ("short", "{timeout: 30}", {"total_s": 30, "failover_total_s": 30,
                                "first_content_s": 30, "failover_first_content_s": 30}),
    ("from_variable", "{timeout: '${SECONDS}'}",
     {"total_s": 2.5, "failover_total_s": 2.5,
      "first_content_s": 2.5, "failover_first_content_s": 2.5}),
    ("connect", "{timeouts: {connect: 0.5}}", {"connect_s": 0.5}),
    ("idle", "{timeouts: {idle: 9}}", {"idle_s": 9}),
    ("first_content", "{timeouts: {first_content: 9}}",
     {"first_content_s": 9, "failover_first_content_s": 9}),
    ("first_token", "{timeouts: {first_token: 9}}",
     {"first_content_s": 9, "failover_first_content_s": 9}),
    ("total", "{timeouts: {total: 9}}", {"total_s": 9, "failover_total_s": 9}),
    ("both", "{timeout: 30, timeouts: {first_content: 40, total: 50}}",
     {"total_s": 50, "failover_total_s": 50,
      "first_content_s": 40, "failover_first_content_s": 40}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "differs"), [case[1:] for case in TIMEOUTS], ids=[case[0] for case in TIMEOUTS]
)
def test_a_timeout_that_is_given_is_exact(
    text: str, differs: dict[str, Any], tmp_path: Path
) -> None:
    entry = read(f"upstreams: [{text}]", tmp_path).entries[0]
    assert replace(DEFAULTS, **differs) == entry.timeouts


VARIABLES = [
    ("whole", "${KEY}", "key-from-environment"),
    ("within", "a-${COUNT}-${COUNT}", "a-60-60"),
    ("unneeded_default", "${COUNT:-x}", "60"),
    ("default", "${ABSENT:-x y}", "x y"),
    ("default_for_empty", "${EMPTY:-x}", "x"),
    ("default_of_odd_characters", "${ABSENT:-a:-$b'}", "a:-$b'"),
    ("empty_default", "a${ABSENT:-}", "a"),
    ("white_space_around", "${PASTED}", "pasted-key"),
    ("not_searched_again", "${ODD}", "a'${KEY}: [#"),
    ("literal", "$${KEY}", "${KEY}"),
    ("literal_after_dollar", "$$${KEY}", "$${KEY}"),
    ("lone_dollar", "a$KEY$", "a$KEY$"),
]


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in VARIABLES], ids=[case[0] for case in VARIABLES]
)
def test_variables_are_filled_in(text: str, expected: str, tmp_path: Path) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    entries = read(f"upstreams: [{{options: {{o: {quoted}}}, endpoint: {quoted}}}]", tmp_path)
    settings = entries.entries[0].settings
    assert (expected, {"o": expected}) == (settings.base_url, settings.options)


def test_a_key_may_look_like_a_number_when_it_comes_from_a_variable(tmp_path: Path) -> None:
    found = read("authorization: ${NUMBER}", tmp_path, {"NUMBER": "1234567890"})
    assert ["1234567890"] == shown(found.authorization)


@pytest.mark.parametrize("written", ["true", "Yes", "on", "${YES}", '"${YES}"'])
def test_a_flag_is_said_in_many_ways(written: str, tmp_path: Path) -> None:
    assert read(f"groups:\n  g:\n    sticky: {written}", tmp_path).groups[0].sticky


def test_groups_are_tried_in_the_order_declared_then_met(tmp_path: Path) -> None:
    found = read(
        """
        groups: {last: , first: {strategy: weighted}}
        upstreams: [{group: new}, {group: first}, {}, {group: new}]
        """,
        tmp_path,
    )
    assert ["last", "first", "new", "default"] == [group.name for group in found.groups]
    assert ["ordered", "weighted", "ordered", "ordered"] == [g.strategy for g in found.groups]
    assert found.entries[0].group is found.entries[3].group


def test_entries_without_a_group_follow_the_default_one_as_declared(tmp_path: Path) -> None:
    found = read("{groups: {default: {strategy: lowest_cost}}, upstreams: [{}]}", tmp_path)
    assert "lowest_cost" == found.entries[0].group.strategy


def test_a_pattern_may_match_its_own_target(tmp_path: Path) -> None:
    found = read("aliases: {'*': small, 'small-*': [small-1], small: tiny}", tmp_path)
    assert {"*": ("small",), "small-*": ("small-1",), "small": ("tiny",)} == found.aliases


def test_an_alias_may_lead_to_aliases(tmp_path: Path) -> None:
    found = read("aliases: {a: [b, c], b: c, c: d}", tmp_path)
    assert {"a": ("b", "c"), "b": ("c",), "c": ("d",)} == found.aliases


def test_anchors_and_merges_save_repetition(tmp_path: Path) -> None:
    found = read(
        """
        upstreams:
          - &first
            name: one
            weight: 2
            order: 3
            models: &models [a, b]
          - <<: *first
            name: two
            order: 4
          - {<<: [{name: three}, *first], models: *models, weight: 5}
        """,
        tmp_path,
    )
    assert [("one", 2.0, 3), ("two", 2.0, 4), ("three", 5.0, 3)] == [
        (entry.name, entry.weight, entry.order) for entry in found.entries
    ]
    assert {("a", "b")} == {entry.models for entry in found.entries}


def test_entries_know_their_lines_through_comments_and_blank_lines(tmp_path: Path) -> None:
    found = read("# about\n\nupstreams:\n\n  - sk: a\n  # b\n  -\n    sk: b\n", tmp_path)
    assert [5, 8] == [entry.line for entry in found.entries]


@pytest.mark.parametrize(
    "text",
    [
        "upstreams: [{name: eu}]",
        b"\xef\xbb\xbfupstreams: [{name: eu}]",
        b"upstreams:\r\n  - name: eu\r\n",
        "---\nupstreams:\n- name: eu\n...\n",
        '{"upstreams": [{"name": "eu"}]}',
    ],
    ids=["plain", "byte_order_mark", "crlf", "document_marks", "json"],
)
def test_ways_to_write_the_same(text: str | bytes, tmp_path: Path) -> None:
    assert ["eu"] == [entry.name for entry in read(text, tmp_path).entries]


def test_an_empty_mapping_says_nothing(tmp_path: Path) -> None:
    assert Upstreams(path=tmp_path / "upstreams.yaml") == read("{}", tmp_path)


def test_secrets_do_not_show_in_what_was_read(tmp_path: Path) -> None:
    shown_whole = repr(read(SMALL, tmp_path))
    assert "secret_key_1" not in shown_whole
    assert "woshimima" not in shown_whole


def test_the_table_covers_every_field_of_an_entry(tmp_path: Path) -> None:
    """A field that is added to the values and not to the file would go unnoticed."""
    full = read(FULL, tmp_path).entries[0]
    plain = read("upstreams: [{}]", tmp_path).entries[0]
    same = {f.name for f in fields(full) if getattr(full, f.name) == getattr(plain, f.name)}
    assert set() == same
