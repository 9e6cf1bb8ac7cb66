"""What the adapter has to reach, as ratios of what was measured in the same pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.local.evidence import Evidence, Finding, Quantity, Subject
from benchmarks.local.scenes import Name, Scene
from benchmarks.local.stints import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That `quantity` of `upper` is so many times that of `lower`: at least, or at most."""

    title: str
    quantity: Quantity
    upper: Subject
    lower: Subject
    bound: float
    is_least: bool

    def found_in(self, evidence: Evidence) -> Finding | None:
        """The ratio; None where one of the two was not measured."""
        return evidence.ratio(self.upper, self.lower, self.quantity)

    def is_met(self, ratio: float) -> bool:
        """Whether `ratio` is as it should be."""
        return ratio >= self.bound if self.is_least else ratio <= self.bound


def speed(result: Result) -> float:
    """Tokens a second, of all clients, the time for the prompts included."""
    return result.tokens_per_s


def first(result: Result) -> float:
    """Seconds to the first text, in the median of the clients."""
    return result.first_median_s


def worst_first(result: Result) -> float:
    """Seconds to the first text, for the client who waited longest."""
    return result.first_worst_s


def between(result: Result) -> float:
    """Seconds between texts that one in a hundred exceeds."""
    return result.between_p99_s


def _streams(name: Name, clients: int) -> Subject:
    return Subject(Scene.STREAMS, name, clients)


def _faster(rival: Name, clients: int, bound: float) -> Claim:
    return Claim(
        title=f"tokens/s, {clients} at once, to {rival}",
        quantity=speed,
        upper=_streams(Name.ADAPTER, clients),
        lower=_streams(rival, clients),
        bound=bound,
        is_least=True,
    )


def _beside_neighbour(clients: int) -> Claim:
    return Claim(
        title=f"tokens/s beside a busy neighbour, {clients} at once, both with default threads",
        quantity=speed,
        upper=Subject(Scene.NEIGHBOUR, Name.ADAPTER_DEFAULT, clients),
        lower=Subject(Scene.NEIGHBOUR, Name.SERVER_DEFAULT, clients),
        bound=2.0,
        is_least=True,
    )


CLAIMS: Final = (
    _faster(Name.LOCK, 1, 1.2),
    _faster(Name.SERVER, 1, 1.0),
    _faster(Name.LOCK, 8, 1.9),
    _faster(Name.SERVER, 8, 1.0),
    _faster(Name.LOCK, 16, 1.9),
    _faster(Name.SERVER, 16, 1.0),
    Claim(
        title=f"worst first text, 16 at once, to {Name.LOCK}",
        quantity=worst_first,
        upper=_streams(Name.ADAPTER, 16),
        lower=_streams(Name.LOCK, 16),
        bound=0.2,
        is_least=False,
    ),
    Claim(
        title=f"p99 between texts, 8 at once, to {Name.SERVER}",
        quantity=between,
        upper=_streams(Name.ADAPTER, 8),
        lower=_streams(Name.SERVER, 8),
        bound=0.5,
        is_least=False,
    ),
    Claim(
        title="first text after a prefix that is known, to one that is not",
        quantity=first,
        upper=Subject(Scene.WARM, Name.ADAPTER),
        lower=Subject(Scene.COLD, Name.ADAPTER),
        bound=0.05,
        is_least=False,
    ),
    _beside_neighbour(1),
    _beside_neighbour(8),
)
