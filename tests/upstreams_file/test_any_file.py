"""Laws for all files: what was meant is read, and what is wrong is told."""

from __future__ import annotations

import string
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from typing_extensions import override

from one_api.adapter.settings import UpstreamSettings
from one_api.deployment import BreakerTerms, DeploymentLimits, Group, Price, PriceTier, Timeouts
from one_api.errors import ConfigurationError
from one_api.upstreams import UpstreamEntry, Upstreams
from tests.upstreams_file.files import read

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
MODELS = st.text(string.ascii_letters + string.digits + "-./:[]é", min_size=1, max_size=9)
TEXTS = st.text(min_size=1, max_size=12).filter(str.isprintable)
KEYS = st.text(string.ascii_letters + string.digits + string.punctuation, min_size=8, max_size=20)
SECONDS = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
COUNTS = st.integers(min_value=1, max_value=10**12)
USD = st.decimals(min_value=0, max_value=10**6, places=6)
DAYS = st.floats(min_value=0.001, max_value=86_400)
TERMS = st.builds(
    BreakerTerms,
    failures=st.none() | COUNTS,
    ratio=st.none() | st.floats(min_value=0, exclude_min=True, max_value=1),
    min_requests=st.none() | COUNTS,
    window_s=st.none() | DAYS,
    cooldown_s=st.none() | DAYS,
    growth=st.none() | st.floats(min_value=1, max_value=10),
    max_cooldown_s=st.none() | DAYS,
)
GROUPS = st.builds(
    Group,
    name=NAMES,
    strategy=st.sampled_from(["ordered", "weighted", "least_busy", "lowest_cost"]),
    after_commit=st.sampled_from(["error", "continue"]),
    sticky=st.booleans(),
    probe=st.booleans(),
)
TIMEOUTS = st.builds(
    lambda connect_s, first_s, idle_s, total_s: Timeouts(
        connect_s=connect_s,
        first_content_s=first_s,
        failover_first_content_s=first_s,
        idle_s=idle_s,
        total_s=total_s,
        failover_total_s=total_s,
    ),
    SECONDS,
    SECONDS,
    SECONDS,
    SECONDS,
)
FLAT_PRICES = st.builds(
    Price,
    input_usd=USD,
    output_usd=USD,
    cached_input_usd=st.none() | USD,
    cache_write_usd=st.none() | USD,
    reasoning_usd=st.none() | USD,
    cache_write_1h_usd=st.none() | USD,
)
TIERS = st.dictionaries(COUNTS, FLAT_PRICES, max_size=2).map(
    lambda tiers: tuple(
        PriceTier(above_input_tokens=above, price=tiers[above]) for above in sorted(tiers)
    )
)
PRICES = st.builds(replace, FLAT_PRICES, tiers=TIERS)
ENTRIES = st.builds(
    UpstreamEntry,
    name=NAMES,
    settings=st.builds(
        UpstreamSettings,
        provider=NAMES,
        api_key=KEYS.map(SecretStr),
        base_url=TEXTS,
        options=st.dictionaries(st.sampled_from(["organization", "project"]), TEXTS),
    ),
    timeouts=TIMEOUTS,
    models=st.lists(MODELS, min_size=1, max_size=3, unique=True).map(tuple),
    model_map=st.dictionaries(MODELS, MODELS, max_size=3),
    group=GROUPS,
    weight=st.floats(min_value=0, allow_infinity=False),
    order=st.integers(min_value=-(10**12), max_value=10**12),
    limits=st.builds(
        DeploymentLimits,
        requests_per_minute=st.none() | COUNTS,
        tokens_per_minute=st.none() | COUNTS,
        concurrent_requests=st.none() | COUNTS,
    ),
    breaker=TERMS,
    probe=st.none() | st.booleans(),
    prices=st.dictionaries(MODELS | st.just("*"), PRICES, min_size=1, max_size=2),
    context_windows=st.dictionaries(MODELS | st.just("*"), COUNTS, max_size=2),
)


class Dumper(yaml.SafeDumper):
    """Writes decimals as the numbers they are, and everything out in full."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def represent_decimal(dumper: Dumper, value: Decimal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", f"{value:f}")


Dumper.add_representer(Decimal, represent_decimal)


def literal(text: str) -> str:
    return text.replace("${", "$${")


def written_price(price: Price) -> dict[str, Any]:
    """`price` as its members in a file, or those of one of its tiers."""
    members: dict[str, Any] = {
        "input": price.input_usd,
        "output": price.output_usd,
        "cached_input": price.cached_input_usd,
        "cache_write": price.cache_write_usd,
        "cache_write_1h": price.cache_write_1h_usd,
        "reasoning": price.reasoning_usd,
    }
    if price.tiers:
        members["tiers"] = [
            {"above_input_tokens": tier.above_input_tokens, **given_ones(written_price(tier.price))}
            for tier in price.tiers
        ]
    return members


def written_breaker(terms: BreakerTerms) -> dict[str, Any]:
    """`terms` as their members in a file."""
    return {name.removesuffix("_s"): value for name, value in given_ones(asdict(terms)).items()}


def written(entry: UpstreamEntry) -> dict[str, Any]:
    """`entry` as its members in a file."""
    assert entry.settings.api_key is not None
    limits = entry.limits
    prices = {model: written_price(price) for model, price in entry.prices.items()}
    return {
        "name": entry.name,
        "adapter": entry.settings.provider,
        "sk": literal(entry.settings.api_key.get_secret_value()),
        "endpoint": literal(entry.settings.base_url),
        "options": {name: literal(text) for name, text in entry.settings.options.items()},
        "timeouts": {
            "connect": entry.timeouts.connect_s,
            "first_content": entry.timeouts.first_content_s,
            "idle": entry.timeouts.idle_s,
            "total": entry.timeouts.total_s,
        },
        "models": list(entry.models or ()),
        "model_map": dict(entry.model_map),
        "group": entry.group.name,
        "weight": entry.weight,
        "order": entry.order,
        "limits": given_ones(
            {
                "requests_per_minute": limits.requests_per_minute,
                "tokens_per_minute": limits.tokens_per_minute,
                "concurrent_requests": limits.concurrent_requests,
            }
        ),
        "breaker": written_breaker(entry.breaker),
        **given_ones({"probe": entry.probe}),
        "price": {model: given_ones(price) for model, price in prices.items()},
        "context_window": dict(entry.context_windows),
    }


def given_ones(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upstreams")


@settings(deadline=None)
@given(
    entries=st.lists(ENTRIES, max_size=3, unique_by=lambda entry: entry.name),
    authorization=st.lists(KEYS, min_size=1, max_size=3),
)
def test_what_was_written_is_read(
    entries: list[UpstreamEntry], authorization: list[str], directory: Path
) -> None:
    groups = {entry.group.name: entry.group for entry in entries}
    text = yaml.dump(
        {
            "authorization": [literal(key) for key in authorization],
            "groups": {
                name: {
                    "strategy": group.strategy,
                    "after_commit": group.after_commit,
                    "sticky": group.sticky,
                    "breaker": written_breaker(group.breaker),
                    "probe": group.probe,
                }
                for name, group in groups.items()
            },
            "upstreams": [written(entry) for entry in entries],
        },
        Dumper=Dumper,
        sort_keys=False,
    )

    found = read(text.encode(), directory)

    expected = tuple(
        replace(entry, group=groups[entry.group.name], adapter=entry.settings.provider, line=0)
        for entry in entries
    )
    assert expected == tuple(replace(entry, line=0) for entry in found.entries)
    assert tuple(groups.values()) == found.groups
    assert tuple(map(SecretStr, authorization)) == found.authorization


def read_or_refuse(content: str | bytes, directory: Path) -> None:
    try:
        found = read(content, directory)
    except ConfigurationError as exc:
        told = str(exc)
        assert told.startswith(f"UPSTREAMS_FILE: {directory / 'upstreams.yaml'}")
        assert told.isprintable()
        assert len(told) < 600
    else:
        assert isinstance(found, Upstreams)


@settings(deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes, directory: Path) -> None:
    read_or_refuse(content, directory)


@settings(deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from([*"-?:,[]{}#&*!|>'\"%@`~=<\\$ \n\t", "\n  ", "\r", "  - ", "<<: *a"])
        | st.sampled_from(["&a ", "*a", "!!int ", "!<x>", "---", "...", "%YAML ", "1.", "\\x"])
        | st.sampled_from(["upstreams:", "sk: ", "name: ", "groups:", "price:", "${A}", "\ud7ff"])
        | st.text(max_size=3),
        max_size=30,
    )
)
def test_any_text_is_read_or_refused(pieces: list[str], directory: Path) -> None:
    content = "".join(pieces).encode("utf-8", "surrogatepass")
    read_or_refuse(b"upstreams:\n" + content, directory)
    read_or_refuse(content, directory)


FIELDS = st.sampled_from(
    [
        *("authorization", "groups", "aliases", "upstreams", "name", "adapter", "sk", "endpoint"),
        *("timeout", "timeouts", "options", "models", "model_map", "group", "weight", "order"),
        *(
            "limits",
            "breaker",
            "failures",
            "price",
            "context_window",
            "on_hang_up",
            "probe",
            "input",
            "output",
        ),
        *("total", "strategy", "connect"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a", "b", "*", "a*", "${KEY}", "${", "ordered", "1"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(FIELDS, inner, max_size=5)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(
    tree=TREES
    | st.fixed_dictionaries({"upstreams": st.lists(st.dictionaries(FIELDS, TREES), max_size=3)})
    | st.fixed_dictionaries({"aliases": st.dictionaries(st.sampled_from("abcd"), TREES)})
)
def test_any_tree_is_read_or_refused(tree: Any, directory: Path) -> None:
    read_or_refuse(yaml.safe_dump(tree).encode(), directory)
