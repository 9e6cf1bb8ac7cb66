"""In which order the deployments of one tier are asked: pure functions in one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from random import Random

from one_api.deployment import Deployment, StrategyName

#: Prompts are about three times as long as replies.
_PROMPT_SHARE = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that may be asked, and how it does.

    `latency_s` is the moving average as of now; None before it has shown any.
    """

    deployment: Deployment
    in_flight: int = 0
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """The chance of one plan; `turn` counts the plans of the tier from 0."""

    random: Random
    turn: int = 0


Strategy = Callable[[Sequence[Candidate], Draw], list[Candidate]]


def ordered(candidates: Sequence[Candidate], draw: Draw) -> list[Candidate]:
    """As they are listed."""
    return list(candidates)


def weighted(candidates: Sequence[Candidate], draw: Draw) -> list[Candidate]:
    """At random, each place in proportion to the weights that are left; weight 0 comes last."""
    # The order of exponential waits is a draw without replacement by their rates.
    expovariate = draw.random.expovariate

    def wait(candidate: Candidate) -> float:
        weight = candidate.deployment.weight
        return expovariate(weight) if weight > 0 else math.inf

    return sorted(candidates, key=wait)


def round_robin(candidates: Sequence[Candidate], draw: Draw) -> list[Candidate]:
    """By turns: the next one begins, the rest follow as they are listed."""
    if not candidates:
        return []
    first = draw.turn % len(candidates)
    return [*candidates[first:], *candidates[:first]]


def least_busy(candidates: Sequence[Candidate], draw: Draw) -> list[Candidate]:
    """By requests in flight per weight, ties at random; weight 0 comes last."""
    random = draw.random.random

    def load(candidate: Candidate) -> tuple[float, float]:
        weight = candidate.deployment.weight
        return (candidate.in_flight / weight if weight > 0 else math.inf, random())

    return sorted(candidates, key=load)


def lowest_latency(candidates: Sequence[Candidate], draw: Draw) -> list[Candidate]:
    """The quicker one of two at random, then the others by score.

    The score is the latency times the requests that would wait. Two choices instead of the best
    one keep all requests from rushing to the same deployment. One that has shown no latency is
    explored by one request, and is taken to be as quick as the quickest while that is on its way.
    """
    if len(candidates) < 2:
        return list(candidates)
    known = [one.latency_s for one in candidates if one.latency_s is not None]
    scores = [_slowness(one, min(known, default=1.0)) for one in candidates]
    random = draw.random.random
    first = int(random() * len(candidates))
    # Any but the first.
    other = (first + 1 + int(random() * (len(candidates) - 1))) % len(candidates)
    if scores[other] < scores[first]:
        first = other
    rest = sorted((i for i in range(len(candidates)) if i != first), key=scores.__getitem__)
    return [candidates[i] for i in (first, *rest)]


def _slowness(candidate: Candidate, quickest_s: float) -> float:
    if candidate.latency_s is not None:
        return candidate.latency_s * (candidate.in_flight + 1)
    return quickest_s * (candidate.in_flight + 1) if candidate.in_flight else -1.0


def lowest_cost(candidates: Sequence[Candidate], draw: Draw) -> list[Candidate]:
    """By price, prompt to reply as 3 to 1; without one they come last; ties as they are listed."""
    return sorted(candidates, key=_cost)


def _cost(candidate: Candidate) -> tuple[bool, Decimal]:
    price = candidate.deployment.price
    if price is None:
        return True, Decimal(0)
    return False, _PROMPT_SHARE * price.input_usd + price.output_usd


#: The strategies by the names that configuration gives them.
STRATEGIES: Mapping[StrategyName, Strategy] = {
    "ordered": ordered,
    "weighted": weighted,
    "round_robin": round_robin,
    "least_busy": least_busy,
    "lowest_latency": lowest_latency,
    "lowest_cost": lowest_cost,
}


def home_of(affinity: str, deployments: Sequence[Deployment]) -> int:
    """Which of `deployments` (not empty) the conversation `affinity` belongs to, as an index.

    Weighted rendezvous hashing: the same on every host, in proportion to the weights, and a
    conversation moves only when its own deployment goes, or a new one claims it.
    """
    claims = [_claim(affinity, deployment) for deployment in deployments]
    return claims.index(max(claims))


def _claim(affinity: str, deployment: Deployment) -> tuple[float, int]:
    text = f"{affinity}\0{deployment.name}".encode("utf-8", "surrogatepass")
    # 52 bits and a half: as a float, neither 0 nor 1.
    number = int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 12
    uniform = (number + 0.5) / 2**52
    # Without weight there is still an order, below all that have some.
    return (deployment.weight / -math.log(uniform) if deployment.weight > 0 else 0.0, number)
