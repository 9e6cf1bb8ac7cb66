"""Prices: which one counts, what a reply costs to the micro-dollar, and files that are wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.deployment import Deployment, Price, PriceTier
from one_api.errors import ConfigurationError
from one_api.events import Usage
from one_api.policy.price_file import parse_prices, read_prices
from one_api.policy.prices import (
    MAX_TOKENS,
    PriceTable,
    bounded,
    cost_microusd,
    worst_case_microusd,
)

FULL = Price(
    input_usd=Decimal("3"),
    output_usd=Decimal("15"),
    cached_input_usd=Decimal("0.30"),
    cache_write_usd=Decimal("3.75"),
    reasoning_usd=Decimal("20"),
    cache_write_1h_usd=Decimal("6"),
)
#: Dearer above 100 tokens of a prompt, and dearer again above 1,000.
TIERED = Price(
    input_usd=Decimal(1),
    output_usd=Decimal(2),
    cached_input_usd=Decimal("0.5"),
    tiers=(
        PriceTier(above_input_tokens=100, price=Price(input_usd=Decimal(3), output_usd=Decimal(4))),
        PriceTier(
            above_input_tokens=1_000,
            price=Price(input_usd=Decimal(5), output_usd=Decimal(6), cache_write_1h_usd=Decimal(7)),
        ),
    ),
)
PLAIN = Price(input_usd=Decimal("0.15"), output_usd=Decimal("0.6"))


def price(number: int) -> Price:
    """One of many prices that can be told apart."""
    return Price(input_usd=Decimal(number), output_usd=Decimal(number))


def deployment(upstream_model: str, **differences: Any) -> Deployment:
    return Deployment(
        **{"model": "m", "adapter": "eu", "upstream_model": upstream_model, **differences}
    )


def usage(prompt: int = 0, completion: int = 0, **details: int) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, **details)  # type: ignore[arg-type]  # `estimated` is no count


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        pytest.param(usage(), 0, id="nothing"),
        pytest.param(usage(1000, 100), 3000 + 1500, id="plain"),
        pytest.param(usage(1000, cached_tokens=900), 300 + 270, id="cached is part of the prompt"),
        pytest.param(
            usage(1000, cache_write_tokens=400, cached_tokens=600), 1500 + 180, id="all is cache"
        ),
        pytest.param(
            usage(1000, cache_write_tokens=400, cache_write_1h_tokens=300),
            600 * 3 + 375 + 300 * 6,
            id="for an hour is part of what the cache keeps",
        ),
        pytest.param(
            usage(10, cache_write_tokens=4, cache_write_1h_tokens=9), 18 + 24, id="more for an hour"
        ),
        pytest.param(
            usage(10, cache_write_tokens=4, cache_write_1h_tokens=-9), 18 + 15, id="less than none"
        ),
        pytest.param(
            usage(0, 100, reasoning_tokens=60), 40 * 15 + 60 * 20, id="reasoning is part of it"
        ),
        pytest.param(usage(-5, -7, cached_tokens=-1, reasoning_tokens=-9), 0, id="negative"),
        pytest.param(usage(10, cached_tokens=10**12), 3, id="more cached than there is"),
        pytest.param(
            usage(10, cached_tokens=7, cache_write_tokens=7),
            2 + 11,
            id="more of both than there is",
        ),
        pytest.param(usage(0, 10, reasoning_tokens=11), 200, id="more reasoning than there is"),
        pytest.param(usage(10**15, 0), MAX_TOKENS * 3, id="absurd"),
    ],
)
def test_each_token_is_charged_once_as_what_it_is(used: Usage, expected: int) -> None:
    assert expected == cost_microusd(FULL, used)


@pytest.mark.parametrize(
    ("missing", "details"),
    [
        ("cached_input_usd", {"cached_tokens": 10}),
        ("cache_write_usd", {"cache_write_tokens": 10}),
        ("reasoning_usd", {"reasoning_tokens": 10}),
    ],
)
def test_kind_without_a_price_costs_what_its_whole_does(
    missing: str, details: dict[str, int]
) -> None:
    assert getattr(PLAIN, missing) is None
    assert cost_microusd(PLAIN, usage(100, 100)) == cost_microusd(PLAIN, usage(100, 100, **details))


def test_tokens_kept_for_an_hour_cost_what_others_do_that_are_kept_unless_they_have_a_price() -> (
    None
):
    flat = replace(FULL, cache_write_1h_usd=None)
    used = usage(100, cache_write_tokens=80, cache_write_1h_tokens=40)
    assert cost_microusd(flat, used) == cost_microusd(FULL, usage(100, cache_write_tokens=80))
    assert cost_microusd(FULL, used) - cost_microusd(flat, used) == 40 * 6 - 40 * 3.75


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        pytest.param(usage(100, 10), 100 + 20, id="up to the bound"),
        pytest.param(usage(101, 10), 303 + 40, id="above it, all of it"),
        pytest.param(usage(1_000, 10), 3_000 + 40, id="up to the next"),
        pytest.param(usage(1_001, 10), 5_005 + 60, id="above the next"),
        pytest.param(usage(0, 10_000), 20_000, id="long answers are not long prompts"),
        pytest.param(usage(100, cached_tokens=100), 50, id="cached below"),
        pytest.param(usage(101, cached_tokens=100), 303, id="a tier has prices of its own only"),
        pytest.param(
            usage(1_001, cached_tokens=900, cache_write_tokens=101, cache_write_1h_tokens=1),
            1_000 * 5 + 7,
            id="what the cache had and keeps is of the prompt",
        ),
    ],
)
def test_long_prompt_is_charged_by_its_tier_as_a_whole(used: Usage, expected: int) -> None:
    assert expected == cost_microusd(TIERED, used)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (50, 50 * 1 + 10 * 2),
        (51, 51 * 3 + 10 * 4),
        (500, 500 * 3 + 10 * 4),
        (501, 501 * 5 + 10 * 6),
    ],
)
def test_worst_case_is_of_the_dearest_tier_that_a_prompt_of_twice_the_length_has(
    prompt: int, expected: int
) -> None:
    without_hour = replace(
        TIERED,
        tiers=tuple(
            replace(tier, price=replace(tier.price, cache_write_1h_usd=None))
            for tier in TIERED.tiers
        ),
    )
    assert expected == worst_case_microusd(without_hour, prompt, 10)


def test_worst_case_is_never_of_a_long_prompt_that_is_cheaper() -> None:
    cheaper = PriceTier(
        above_input_tokens=10, price=Price(input_usd=Decimal(0), output_usd=Decimal(0))
    )
    one = replace(PLAIN, tiers=(cheaper,))
    assert worst_case_microusd(PLAIN, 100, 10) == worst_case_microusd(one, 100, 10)


def test_price_of_zero_is_a_price() -> None:
    free = Price(
        input_usd=Decimal(9),
        output_usd=Decimal(9),
        cached_input_usd=Decimal(0),
        cache_write_usd=Decimal(0),
        reasoning_usd=Decimal(0),
    )
    used = usage(10, 5, cached_tokens=6, cache_write_tokens=4, reasoning_tokens=5)
    assert 0 == cost_microusd(free, used)


@pytest.mark.parametrize(
    ("usd", "tokens", "expected"),
    [
        ("0.5", 1, 1),
        ("0.499999999999", 1, 0),
        ("0.15", 3, 0),
        ("0.15", 10, 2),
        ("0.25", 2, 1),
        ("2.5", 1, 3),
        ("1E+2", 1, 100),
        ("0.0000000000000000000000000000000000005", 1, 0),
    ],
)
def test_half_a_micro_dollar_is_rounded_up_and_less_is_dropped(
    usd: str, tokens: int, expected: int
) -> None:
    one = Price(input_usd=Decimal(usd), output_usd=Decimal(0))
    assert expected == cost_microusd(one, usage(tokens))


def test_rounding_happens_once_for_the_whole_reply() -> None:
    tenth = Decimal("0.4")
    one = Price(input_usd=tenth, output_usd=tenth, cached_input_usd=tenth, reasoning_usd=tenth)
    assert 2 == cost_microusd(one, usage(2, 2, cached_tokens=1, reasoning_tokens=1))


amounts = st.decimals(0, 1000, places=9) | st.sampled_from([Decimal(0), Decimal("0.1")])
flat_prices = st.builds(
    Price,
    input_usd=amounts,
    output_usd=amounts,
    cached_input_usd=st.none() | amounts,
    cache_write_usd=st.none() | amounts,
    reasoning_usd=st.none() | amounts,
    cache_write_1h_usd=st.none() | amounts,
)
tiers = st.dictionaries(st.integers(1, 2_000_000), flat_prices, max_size=3).map(
    lambda found: tuple(
        PriceTier(above_input_tokens=above, price=found[above]) for above in sorted(found)
    )
)
prices = st.builds(replace, flat_prices, tiers=tiers)
counts = st.integers(-5, 3_000_000) | st.sampled_from([10**12, -(10**12)])
usages = st.builds(
    Usage,
    prompt_tokens=counts,
    completion_tokens=counts,
    cached_tokens=counts,
    cache_write_tokens=counts,
    cache_write_1h_tokens=counts,
    reasoning_tokens=counts,
    prompt_audio_tokens=counts,
    completion_audio_tokens=counts,
    accepted_prediction_tokens=counts,
    rejected_prediction_tokens=counts,
)


@given(prices, usages)
@settings(deadline=None)
def test_cost_is_what_decimal_arithmetic_with_all_digits_says(whole: Price, used: Usage) -> None:
    sane = bounded(used)
    exceeded = [t.price for t in whole.tiers if t.above_input_tokens < sane.prompt_tokens]
    one = [whole, *exceeded][-1]
    with localcontext(prec=100):
        cached = one.input_usd if one.cached_input_usd is None else one.cached_input_usd
        write = one.input_usd if one.cache_write_usd is None else one.cache_write_usd
        for_hour = write if one.cache_write_1h_usd is None else one.cache_write_1h_usd
        reasoning = one.output_usd if one.reasoning_usd is None else one.reasoning_usd
        fresh = sane.prompt_tokens - sane.cached_tokens - sane.cache_write_tokens
        exact = (
            one.input_usd * fresh
            + cached * sane.cached_tokens
            + write * (sane.cache_write_tokens - sane.cache_write_1h_tokens)
            + for_hour * sane.cache_write_1h_tokens
            + one.output_usd * (sane.completion_tokens - sane.reasoning_tokens)
            + reasoning * sane.reasoning_tokens
        )
        expected = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    assert expected == cost_microusd(whole, used)


@given(prices, usages, st.integers(0, 10**6), st.integers(0, 10**6))
@settings(deadline=None)
def test_no_usage_within_the_limits_costs_more_than_the_worst_case(
    one: Price, used: Usage, prompt: int, completion: int
) -> None:
    within = replace(
        used,
        prompt_tokens=min(used.prompt_tokens, prompt),
        completion_tokens=min(used.completion_tokens, completion),
    )
    assert 0 <= cost_microusd(one, within) <= worst_case_microusd(one, prompt, completion)


@given(usages)
@settings(deadline=None)
def test_bounded_usage_is_possible_and_bounding_it_again_changes_nothing(used: Usage) -> None:
    sane = bounded(used)
    assert 0 <= sane.prompt_tokens <= MAX_TOKENS
    assert 0 <= sane.completion_tokens <= MAX_TOKENS
    assert 0 <= sane.cached_tokens + sane.cache_write_tokens <= sane.prompt_tokens
    assert 0 <= sane.cache_write_1h_tokens <= sane.cache_write_tokens
    assert 0 <= sane.reasoning_tokens <= sane.completion_tokens
    assert sane == bounded(sane)


def test_usage_that_is_possible_is_left_as_it_is() -> None:
    used = usage(10, 5, cached_tokens=6, cache_write_tokens=4, reasoning_tokens=5)
    assert used == bounded(used)


LOOK_UPS = [
    pytest.param(["*", "*/m*"], ["*/m*"], "m", id="pattern for any instance"),
    pytest.param(["*m", "eu/m"], ["eu/m"], "m", id="instance before pattern of bare names"),
    pytest.param(["m"], ["m"], "m", id="bare name"),
    pytest.param(["eu/m", "hub/m", "m"], ["eu/m"], "m", id="instance before provider and bare"),
    pytest.param(["hub/m", "m"], ["hub/m"], "m", id="provider before bare"),
    pytest.param(["m*", "m-1"], ["m-1"], "m-1", id="exact before pattern"),
    pytest.param(["m*", "m-1*", "*"], ["m-1*"], "m-1-x", id="most letters first"),
    pytest.param(["*-big", "m*"], ["*-big"], "m-big", id="letters anywhere in a pattern count"),
    pytest.param(["aa*", "*bb"], ["aa*"], "aabb", id="of two alike the first"),
    pytest.param(["eu/*", "m"], ["eu/*"], "m", id="pattern of the instance before bare name"),
    pytest.param(["m"], ["m"], "m-2026-05-01", id="snapshot"),
    pytest.param(["m"], ["m"], "m-20260501", id="snapshot, date in one"),
    pytest.param(["m", "m-2026-05-01"], ["m-2026-05-01"], "m-2026-05-01", id="its own entry first"),
    pytest.param(["m", "m-*"], ["m"], "m-2026-05-01", id="its model before patterns"),
    pytest.param(["*m"], ["*m"], "m-2026-05-01", id="pattern for its model"),
    pytest.param(["m"], [], "m-2026-13-01", id="no date"),
    pytest.param(["m"], [], "m-2026-0501", id="half a date"),
    pytest.param(["m"], [], "m-latest", id="other endings mean something"),
    pytest.param(["m.*"], [], "mx1", id="only the star is special"),
    pytest.param(["other/m", "M"], [], "m", id="nothing"),
    pytest.param(["a/b"], ["a/b"], "a/b", id="model with a slash"),
]


@pytest.mark.parametrize(("listed", "expected", "model"), LOOK_UPS)
def test_the_most_exact_entry_counts(listed: list[str], expected: list[str], model: str) -> None:
    entries = {name: price(number) for number, name in enumerate(listed, 1)}
    found = PriceTable(entries).price_of(deployment(model), "hub")
    assert [entries[name] for name in expected] == ([] if found is None else [found])


def test_provider_is_asked_for_only_when_it_is_known() -> None:
    table = PriceTable({"hub/m": price(1)})
    assert table.price_of(deployment("m")) is None
    assert price(1) == table.price_of(deployment("m"), "hub")


def test_names_that_clients_choose_fill_no_memory() -> None:
    table = PriceTable({"*": price(1), "m7": price(7)})
    for number in range(10_000):
        assert price(7 if number == 7 else 1) == table.price_of(deployment(f"m{number}"))

    assert price(7) == table.price_of(deployment("m7"))
    assert len(table._found) <= 4_096


def test_deployment_that_has_a_price_needs_no_table() -> None:
    assert FULL == PriceTable({"m": price(1)}).price_of(deployment("m", price=FULL))


def test_whatever_the_operator_lists_comes_before_what_ships() -> None:
    table = PriceTable({"*": price(1)}, {"eu/m": price(2)})
    assert price(1) == table.price_of(deployment("m"))


def test_what_the_operator_does_not_list_is_as_shipped(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices: {cellar-model: {input: 0, output: 0}}\n")
    ours, shipped = PriceTable.load(path), PriceTable.load(None)
    assert Price(input_usd=Decimal(0), output_usd=Decimal(0)) == ours.price_of(
        deployment("cellar-model")
    )
    assert shipped.price_of(deployment("cellar-model")) is None
    claude = deployment("claude-opus-5")
    assert Decimal("6.25") == getattr(shipped.price_of(claude), "cache_write_usd", None)
    assert shipped.price_of(claude) == ours.price_of(claude)


def test_override_may_be_any_yaml_that_says_it(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "\ufeff# ours\nprices:\n  'gpt-*':\n    input: 0.1\n    output: 0.30\n"
        "    cached_input: 0\n    cache_write: 1.123456789012\n    reasoning: 1000000\n"
        "    cache_write_1h: 2\n"
        "    tiers:\n    - {above_input_tokens: 200000, input: 3, output: 4}\n"
        "    - {above_input_tokens: 400000, input: 5, output: 6, cache_write_1h: 7.5}\n"
        "    source: the contract\n",
        encoding="utf-8",
    )
    expected = Price(
        input_usd=Decimal("0.1"),
        output_usd=Decimal("0.30"),
        cached_input_usd=Decimal(0),
        cache_write_usd=Decimal("1.123456789012"),
        reasoning_usd=Decimal(1_000_000),
        cache_write_1h_usd=Decimal(2),
        tiers=(
            PriceTier(
                above_input_tokens=200_000, price=Price(input_usd=Decimal(3), output_usd=Decimal(4))
            ),
            PriceTier(
                above_input_tokens=400_000,
                price=Price(
                    input_usd=Decimal(5),
                    output_usd=Decimal(6),
                    cache_write_1h_usd=Decimal("7.5"),
                ),
            ),
        ),
    )
    assert expected == PriceTable.load(path).price_of(deployment("gpt-4"))


AMOUNT = "must be a number of US dollars per million tokens, from 0 to 1,000,000, such as 0.25"
ENTRY = "prices:\n  m:\n    input: 1\n    output: 2\n"
TIERS = ENTRY + "    tiers:\n    - {above_input_tokens: 5, input: 1, output: 2}\n"
BAD_FILES = [
    pytest.param("", "", "is empty; a mapping of 'prices' is expected", id="empty"),
    pytest.param("# nothing\n", "", "is empty; a mapping of 'prices' is expected", id="comment"),
    pytest.param("- a\n", ":1", "must be a mapping", id="list"),
    pytest.param("{}\n", ":1", "'prices' is missing", id="no prices"),
    pytest.param(
        ENTRY + "price: 1\n", ":5", "price: unknown field; 'prices' is expected", id="unknown part"
    ),
    pytest.param("prices:\n- m\n", ":2", "prices: must be a mapping", id="prices as list"),
    pytest.param("prices:\n  m: 1\n", ":2", "prices.m: must be a mapping", id="bare number"),
    pytest.param("prices:\n\n  m:\n", ":3", "prices.m: must be a mapping", id="nothing said"),
    pytest.param("prices: {m: {input: 1}}", ":1", "prices.m: 'output' is missing", id="no output"),
    pytest.param(
        ENTRY + "    ouput: 3\n",
        ":5",
        "prices.m.ouput: unknown field; known are: "
        "input, output, cached_input, cache_write, cache_write_1h, reasoning, tiers, source",
        id="misspelt",
    ),
    pytest.param(
        ENTRY + "    tiers: {above_input_tokens: 1}\n",
        ":5",
        "prices.m.tiers: must be a list of prices for long prompts",
        id="tiers as mapping",
    ),
    pytest.param(
        ENTRY + "    tiers: []\n",
        ":5",
        "prices.m.tiers: must be a list of prices for long prompts",
        id="no tiers",
    ),
    pytest.param(
        ENTRY + "    tiers:\n    - {input: 1, output: 1}\n",
        ":6",
        "prices.m.tiers[0]: 'above_input_tokens' is missing",
        id="tier of all prompts",
    ),
    pytest.param(
        TIERS + "    - {above_input_tokens: 9, input: 1}\n",
        ":7",
        "prices.m.tiers[1]: 'output' is missing",
        id="half a tier",
    ),
    pytest.param(
        TIERS + "    - {above_input_tokens: 5, input: 1, output: 1}\n",
        ":7",
        "prices.m.tiers[1]: 'above_input_tokens' must be more than in the one before",
        id="tiers out of order",
    ),
    pytest.param(
        TIERS + "    - {above_input_tokens: 9, input: 1, output: 1, tiers: []}\n",
        ":7",
        "prices.m.tiers[1].tiers: unknown field; known are: above_input_tokens, "
        "input, output, cached_input, cache_write, cache_write_1h, reasoning",
        id="tiers in tiers",
    ),
    *(
        pytest.param(
            ENTRY + f"    tiers:\n    - {{above_input_tokens: {count}, input: 1, output: 1}}\n",
            ":6",
            "prices.m.tiers[0].above_input_tokens: must be a whole number of tokens, "
            "from 1 to 100,000,000",
            id=f"tier above {count}",
        )
        for count in ("0", "-1", "200k", "1e5", "2.5", "'9'", "200_000", "100000001")
    ),
    pytest.param(ENTRY + "    output: 3\n", ":5", "prices.m.output: is given twice", id="twice"),
    pytest.param(
        ENTRY + "  m: {input: 1, output: 1}\n", ":5", "prices.m: is given twice", id="model twice"
    ),
    pytest.param(
        "prices:\n  'a b': {input: 1, output: 1}\n",
        ":2",
        "prices.?: must be the name of a model, without white space",
        id="white space",
    ),
    pytest.param("prices:\n  [a]: 1\n", ":2", "prices: a name must be text", id="name as list"),
    pytest.param("prices:\n  '': 1\n", ":2", "prices: a name must be text", id="no name"),
    *(
        pytest.param(
            f"prices:\n  m:\n    output: 1\n    input: {amount}\n",
            ":4",
            f"prices.m.input: {AMOUNT}",
            id=amount or "no amount",
        )
        for amount in ("", "-1", "1e3", ".5", "5.", "0x1", "1_000", "1,5", "$1", "'1'", "[1]", "~",
                       ".inf", ".nan", "1:30", "1000000.01", "0.1234567890123", "secret-value")
    ),
    pytest.param("prices: {m: [\n", ":2", "is not valid YAML", id="broken"),
    pytest.param('a: "\\U00110000"\n', "", "is not valid YAML", id="no character"),
    pytest.param("a: \x01\n", "", "is not valid YAML", id="control character"),
    pytest.param("[" * 2_000, "", "is nested too deeply", id="deep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "problem"), BAD_FILES)
def test_wrong_file_is_told_with_line_and_field_and_without_values(
    tmp_path: Path, text: str, line: str, problem: str
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        PriceTable.load(path)
    assert f"PRICES_FILE: {path}{line}: {problem}" == str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"#" * 1_000_001, "is larger than 1,000,000 bytes"),
    ],
    ids=["not text", "large"],
)
def test_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=problem):
        PriceTable.load(path)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/no/such/file", "there is no such file"),
        ("/", "cannot be read: Is a directory"),
        ("/\0", "is not a path"),
    ],
)
def test_file_that_cannot_be_read_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        PriceTable.load(Path(path))


def shipped_entries() -> dict[str, dict[str, Any]]:
    text = resources.files("one_api").joinpath("prices.yaml").read_text("utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)["prices"]
    return entries


def test_what_ships_reads_the_same_by_either_parser() -> None:
    with resources.as_file(resources.files("one_api").joinpath("prices.yaml")) as path:
        assert read_prices(path) == parse_prices("prices.yaml", path.read_bytes())


def test_some_prices_ship() -> None:
    assert len(shipped_entries()) > 10


@pytest.mark.parametrize("name", shipped_entries())
def test_shipped_price_says_where_it_was_read_and_when(name: str) -> None:
    entry = shipped_entries()[name]
    source = entry["source"]
    assert source.startswith("https://")
    seen = date.fromisoformat(source.split("seen ")[1][:10])
    assert date(2026, 1, 1) <= seen
    for charged in (entry, *entry.get("tiers", ())):
        # What is read again costs no more than what is read afresh, and no less than nothing.
        assert 0 <= charged.get("cached_input", 0) <= charged["input"]
        # What is kept costs no less than what is not, and for longer no less than for a while.
        kept = charged.get("cache_write", charged["input"])
        assert charged["input"] <= kept <= charged.get("cache_write_1h", kept)
    assert PriceTable.load(None).price_of(deployment(name)) is not None


def test_a_price_that_is_gone_is_not_charged_for_another() -> None:
    # Made and dropped one after the other: they get the addresses of those before them.
    costs = [cost_microusd(replace(PLAIN, input_usd=Decimal(at)), usage(7, 0)) for at in range(99)]

    assert [7 * at for at in range(99)] == costs
