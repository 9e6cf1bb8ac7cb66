"""The operator's upstreams as values: what a file of them says, once it is read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from one_api.adapter.settings import UpstreamSettings
from one_api.deployment import (
    DEFAULT_GROUP,
    NO_LIMITS,
    NO_TERMS,
    BreakerTerms,
    DeploymentLimits,
    Group,
    OnHangUp,
    Price,
    Timeouts,
)

#: The key that stands for all models of an upstream.
ALL_MODELS = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamEntry:
    """One upstream: where it is, whose adapter speaks to it, and how it is chosen.

    `adapter` None stands for the installed adapter that answers for such entries. `models` are
    public names, which may be patterns (`gpt-*`); None for whatever the provider lists.
    `model_map` leads from public names to the upstream's own. `prices` and `context_windows` are
    by public name, or for `ALL_MODELS`. `probe` None stands for what the group says.
    `line` is the entry's first line in its file.
    """

    name: str
    adapter: str | None = None
    settings: UpstreamSettings
    timeouts: Timeouts = field(default_factory=Timeouts)
    models: tuple[str, ...] | None = None
    model_map: Mapping[str, str] = field(default_factory=dict)
    group: Group = DEFAULT_GROUP
    weight: float = 1.0
    order: int = 0
    limits: DeploymentLimits = NO_LIMITS
    breaker: BreakerTerms = NO_TERMS
    on_hang_up: OnHangUp = "cancel"
    probe: bool | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    context_windows: Mapping[str, int] = field(default_factory=dict)
    line: int = 0

    @property
    def is_probed(self) -> bool:
        """Whether its deployments are asked for signs of life when nobody else asks them."""
        return self.group.probe if self.probe is None else self.probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Everything that one file says.

    `authorization` are API keys of clients. `aliases` lead from a name or a pattern to the models
    to try, in order. `groups` are in the order in which they are tried.
    """

    authorization: tuple[SecretStr, ...] = ()
    groups: tuple[Group, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    entries: tuple[UpstreamEntry, ...] = ()
    path: Path | None = None
