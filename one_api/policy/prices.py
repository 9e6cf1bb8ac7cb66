"""What tokens cost: a table of prices, and the exact cost of a reply in whole micro-dollars.

The table ships as `prices.yaml` and is overridden by a file of the operator's; docs/prices.md
describes both. A price in US dollars per million tokens is as many micro-dollars per token.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from one_api.catalogue import Pattern
from one_api.deployment import Deployment, Price
from one_api.events import Usage
from one_api.policy.price_file import parse_prices, read_prices

#: More tokens than one reply has of a kind: beyond, a count is an upstream's mistake.
MAX_TOKENS = 100_000_000

#: Models whose prices are remembered at most.
_MAX_FOUND = 4_096
#: How many times as long as expected a prompt may turn out to be: its tokens are counted by the
#: provider, and by us at about one for every four bytes.
_PROMPT_SLACK = 2
#: The date at the end of a snapshot's name.
_DATE = re.compile(r"-20[0-9]{2}(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])$")


class PriceTable:
    """Prices by the names of models: the operator's first, those that ship second."""

    def __init__(self, *lists: Mapping[str, Price]) -> None:
        """A table of `lists`, of which an earlier one comes before a later one."""
        self._lists = tuple(_PriceList.of(prices) for prices in lists)
        #: What was found for models of deployments without a price of their own.
        self._found: dict[tuple[str, str, str | None], Price | None] = {}

    @classmethod
    def load(cls, override: Path | None) -> PriceTable:
        """The table that ships, below the operator's file at `override`. Blocks while it reads.

        Raises: ConfigurationError that names the file, the line and the field.
        """
        lists = [_shipped()]
        if override is not None:
            lists.insert(0, read_prices(override))
        return cls(*lists)

    def price_of(self, deployment: Deployment, provider: str | None = None) -> Price | None:
        """What `deployment` charges; None where nobody said.

        Its own price counts first. Then the model is looked for as `instance/model`, as
        `provider/model` where the instance's provider is given, and by its bare name: exactly,
        without the date of a snapshot, and among patterns, those of most letters first. Patterns
        without a slash are for bare names.
        """
        if deployment.price is not None:
            return deployment.price
        asked = deployment.upstream_model, deployment.adapter, provider
        if asked in self._found:
            return self._found[asked]
        if len(self._found) >= _MAX_FOUND:  # Clients may ask for any name.
            self._found.clear()
        price = self._found[asked] = self._look_up(*asked)
        return price

    def _look_up(self, model: str, adapter: str, provider: str | None) -> Price | None:
        owners = dict.fromkeys(owner for owner in (adapter, provider) if owner)
        for prices in self._lists:
            for owner in (*owners, None):
                price = prices.find(model, owner)
                if price is not None:
                    return price
        return None


@functools.cache
def _shipped() -> Mapping[str, Price]:
    """The prices that come with the package: they do not change while it runs."""
    content = resources.files("one_api").joinpath("prices.yaml").read_bytes()
    return parse_prices("prices.yaml", content)


def cost_microusd(price: Price, usage: Usage) -> int:
    """What a reply of `usage` costs: exact, and rounded once, half a micro-dollar upwards.

    Counts out of range are `bounded` first, so that a cost is never negative.
    """
    return bounded_cost_microusd(price, bounded(usage))


def bounded_cost_microusd(price: Price, usage: Usage) -> int:
    """As `cost_microusd`, for a `usage` that is `bounded`."""
    rates = _rates(_price_at(price, usage.prompt_tokens) if price.tiers else price)
    cached, written, reasoning = (
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    if not (cached or written or reasoning):  # as most replies: two of six factors
        return rates.rounded(
            rates.input * usage.prompt_tokens + rates.output * usage.completion_tokens
        )
    for_hour = usage.cache_write_1h_tokens
    return rates.rounded(
        rates.input * (usage.prompt_tokens - cached - written)
        + rates.cached_input * cached
        + rates.cache_write * (written - for_hour)
        + rates.cache_write_1h * for_hour
        + rates.output * (usage.completion_tokens - reasoning)
        + rates.reasoning * reasoning
    )


def worst_case_microusd(price: Price, prompt_tokens: int, max_completion_tokens: int) -> int:
    """The most that a reply to so many tokens, of at most so many, can cost.

    No `cost_microusd` of a usage within the two numbers is higher. The tier is the dearest that
    counts for a prompt of up to twice the tokens: how many there are is known when it is charged.
    """
    prompt = _clamp(prompt_tokens, MAX_TOKENS)
    completion = _clamp(max_completion_tokens, MAX_TOKENS)
    possible = [price] + [
        tier.price for tier in price.tiers if tier.above_input_tokens < prompt * _PROMPT_SLACK
    ]
    return max(_dearest_microusd(_rates(one), prompt, completion) for one in possible)


def _dearest_microusd(rates: _Rates, prompt_tokens: int, completion_tokens: int) -> int:
    """What the tokens cost if each is of the dearest kind."""
    dearest_input = max(rates.input, rates.cached_input, rates.cache_write, rates.cache_write_1h)
    return rates.rounded(
        dearest_input * prompt_tokens + max(rates.output, rates.reasoning) * completion_tokens
    )


def _price_at(price: Price, prompt_tokens: int) -> Price:
    """What a request costs whose prompt has so many tokens."""
    found = price
    for tier in price.tiers:
        if prompt_tokens > tier.above_input_tokens:
            found = tier.price
    return found


def bounded(usage: Usage) -> Usage:
    """`usage` with nothing negative, totals within the bounds, and no part above its total."""
    details = (
        usage.cached_tokens
        | usage.cache_write_tokens
        | usage.reasoning_tokens
        | usage.cache_write_1h_tokens
        | usage.prompt_audio_tokens
        | usage.completion_audio_tokens
        | usage.accepted_prediction_tokens
        | usage.rejected_prediction_tokens
    )
    # All bits of all counts: none of them is set where all counts are 0, as in most replies.
    totals = usage.prompt_tokens | usage.completion_tokens
    if (not details and 0 <= totals <= MAX_TOKENS) or _is_sane(usage):
        return usage  # Nearly always: 0.3 µs, where making another one takes 7 µs.
    prompt = _clamp(usage.prompt_tokens, MAX_TOKENS)
    completion = _clamp(usage.completion_tokens, MAX_TOKENS)
    cached = _clamp(usage.cached_tokens, prompt)
    written = _clamp(usage.cache_write_tokens, prompt - cached)
    return replace(
        usage,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=_clamp(usage.cache_write_1h_tokens, written),
        reasoning_tokens=_clamp(usage.reasoning_tokens, completion),
        prompt_audio_tokens=_clamp(usage.prompt_audio_tokens, prompt),
        completion_audio_tokens=_clamp(usage.completion_audio_tokens, completion),
        accepted_prediction_tokens=_clamp(usage.accepted_prediction_tokens, completion),
        rejected_prediction_tokens=_clamp(usage.rejected_prediction_tokens, completion),
    )


def _is_sane(usage: Usage) -> bool:
    """Whether no count is out of its range."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if not (0 <= prompt <= MAX_TOKENS and 0 <= completion <= MAX_TOKENS):
        return False
    cached, written, reasoning = (
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    return (
        0 <= usage.cache_write_1h_tokens <= written
        and 0 <= cached <= prompt - written
        and 0 <= usage.prompt_audio_tokens <= prompt
        and 0 <= reasoning <= completion
        and 0 <= usage.completion_audio_tokens <= completion
        and 0 <= usage.accepted_prediction_tokens <= completion
        and 0 <= usage.rejected_prediction_tokens <= completion
    )


def _clamp(count: int, most: int) -> int:
    return min(max(count, 0), most)


class _Rates(NamedTuple):
    """A price in whole numbers: micro-dollars per `scale` tokens. No digit is lost."""

    scale: int
    input: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int

    def rounded(self, scaled: int) -> int:
        """Micro-dollars in `scaled`, half a one upwards."""
        return (2 * scaled + self.scale) // (2 * self.scale)


#: By the ids of prices, which are kept here, too, so that no other one gets such an id.
_known_rates: dict[int, tuple[Price, _Rates]] = {}


def _rates(price: Price) -> _Rates:
    known = _known_rates.get(id(price))  # To hash seven decimals takes as long as all the rest.
    if known is None:
        if len(_known_rates) >= _MAX_FOUND:
            _known_rates.clear()
        known = _known_rates[id(price)] = price, _rates_of(price)
    return known[1]


def _rates_of(price: Price) -> _Rates:
    def own(amount: Decimal | None, default: Decimal) -> Decimal:
        return default if amount is None else amount

    cache_write_usd = own(price.cache_write_usd, price.input_usd)
    amounts = (
        price.input_usd,
        own(price.cached_input_usd, price.input_usd),
        cache_write_usd,
        own(price.cache_write_1h_usd, cache_write_usd),
        price.output_usd,
        own(price.reasoning_usd, price.output_usd),
    )
    ratios = [amount.as_integer_ratio() for amount in amounts]
    scale = math.lcm(*(denominator for _, denominator in ratios))
    return _Rates(scale, *(top * (scale // bottom) for top, bottom in ratios))


@dataclass(frozen=True, slots=True)
class _PriceList:
    """One file's prices, those of patterns apart: most letters first, then the file's order."""

    exact: Mapping[str, Price]
    patterns: tuple[tuple[Pattern, Price], ...]

    @classmethod
    def of(cls, prices: Mapping[str, Price]) -> _PriceList:
        names = sorted(
            (name for name in prices if "*" in name),
            key=lambda name: name.count("*") - len(name),
        )
        return cls(
            exact={name: price for name, price in prices.items() if "*" not in name},
            patterns=tuple((Pattern(name), prices[name]) for name in names),
        )

    def find(self, model: str, owner: str | None) -> Price | None:
        """The price of `model`, where it is `owner`'s or, without one, anybody's."""
        name = f"{owner}/{model}" if owner else model
        # A snapshot is a version of the model that its undated name stands for, and is billed
        # like it unless it has an entry of its own.
        spellings = dict.fromkeys((name, _DATE.sub("", name)))
        for spelling in spellings:
            if spelling in self.exact:
                return self.exact[spelling]
        for pattern, price in self.patterns:
            is_meant = owner is None or "/" in pattern.text
            if is_meant and any(pattern.matches(spelling) for spelling in spellings):
                return price
        return None
