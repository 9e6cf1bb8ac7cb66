"""Settings of models, of the way to them, and of the patience with who answers for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from one_api.deployment import Timeouts
from one_api.routing import RouterOptions
from one_api.settings.sources import Section
from one_api.settings.values import Aliases, OptionalCommaList

_NO_ALIASES: Mapping[str, tuple[str, ...]] = {}


class ModelsSection(Section):
    """Which models there are, and how to treat what a provider lacks."""

    one_api_adapters: Annotated[
        OptionalCommaList,
        Field(description="Adapters to load, comma-separated, first wins a model id. Unset: all."),
    ] = None
    default_model: Annotated[
        str | None, Field(description="Model for requests that name none.")
    ] = None
    max_tokens: Annotated[
        int,
        Field(
            description="Completion limit where a provider demands one and the client gives none.",
            ge=1,
        ),
    ] = 16_384
    strict_params: Annotated[
        bool, Field(description="Refuse a parameter instead of dropping it.")
    ] = False
    emulate_n: Annotated[
        bool,
        Field(description="Answer n > 1 by asking n times where a provider gives one choice."),
    ] = False
    reasoning_field: Annotated[
        Literal["both", "reasoning", "reasoning_content"],
        Field(description="Message field for reasoning text."),
    ] = "both"
    models_refresh_s: Annotated[
        float, Field(description="Seconds between two listings of a provider's models.", ge=1)
    ] = 300
    tiktoken_cache_dir: Annotated[
        Path | None, Field(description="Directory of tiktoken's rank files, to count tokens.")
    ] = None


class RoutingSection(Section):
    """The way from a model's name to a deployment."""

    upstreams_file: Annotated[
        Path | None, Field(description="File of upstreams (YAML), tried beside the adapters' own.")
    ] = None
    model_aliases: Annotated[
        Aliases, Field(description="Other names for models: fast=small-model,gpt-4*=one|two.")
    ] = _NO_ALIASES
    max_attempts: Annotated[
        int, Field(description="Deployments asked for one request at most.", ge=1, le=10)
    ] = 3
    routing_headers: Annotated[
        bool, Field(description="Let API keys steer routing with x-one-api-* request headers.")
    ] = False
    hold_back_tokens: Annotated[
        int, Field(description="Tokens of a stream to have before it begins.", ge=0, le=10_000)
    ] = 0
    hold_back_ms: Annotated[
        int, Field(description="Milliseconds to hold a stream's beginning.", ge=0, le=60_000)
    ] = 0


class BreakerSection(Section):
    """When deployments are left alone, and how many retries there may be."""

    breaker_failures: Annotated[
        int,
        Field(description="Failures in a row that open a breaker.", ge=1, le=10_000),
    ] = 5
    breaker_ratio: Annotated[
        float, Field(description="Share of failures that opens a breaker.", gt=0, le=1)
    ] = 0.5
    breaker_min_requests: Annotated[
        int,
        Field(description="Requests of which that share must be at least.", ge=1, le=1_000_000),
    ] = 20
    breaker_window_s: Annotated[
        float, Field(description="Seconds for which requests count.", ge=0.001, le=86_400)
    ] = 30
    breaker_cooldown_s: Annotated[
        float, Field(description="Seconds that a breaker stays open.", ge=0.001, le=86_400)
    ] = 30
    breaker_growth: Annotated[
        float,
        Field(description="Times as long that it is open when it opens again.", ge=1, le=10),
    ] = 2
    breaker_max_cooldown_s: Annotated[
        float, Field(description="Seconds that it is open at most.", ge=0.001, le=86_400)
    ] = 300
    retry_ratio: Annotated[
        float,
        Field(description="Share of the waiting requests that may be retries.", ge=0, le=1),
    ] = 0.1
    retry_min: Annotated[
        int, Field(description="Retries that there may always be.", ge=0, le=10_000)
    ] = 3

    @property
    def router_options(self) -> RouterOptions:
        """What holds for deployments that have no terms of their own."""
        return RouterOptions(
            consecutive_failures=self.breaker_failures,
            failure_ratio=self.breaker_ratio,
            min_requests=self.breaker_min_requests,
            window_s=self.breaker_window_s,
            cooldown_s=self.breaker_cooldown_s,
            cooldown_growth=self.breaker_growth,
            max_cooldown_s=self.breaker_max_cooldown_s,
            retry_ratio=self.retry_ratio,
            min_retries=self.retry_min,
        )


class PatienceSection(Section):
    """How long to wait for providers."""

    connect_timeout_s: Annotated[
        float, Field(description="Seconds to connect to a provider.", gt=0)
    ] = 5
    first_content_timeout_s: Annotated[
        float, Field(description="Seconds until a stream's first content.", gt=0)
    ] = 120
    idle_timeout_s: Annotated[
        float, Field(description="Seconds a provider may be silent within a reply.", gt=0)
    ] = 60
    total_timeout_s: Annotated[
        float, Field(description="Seconds a whole reply may take.", gt=0)
    ] = 600
    failover_first_content_timeout_s: Annotated[
        float, Field(description="Until first content while another deployment is left.", gt=0)
    ] = 5
    failover_total_timeout_s: Annotated[
        float, Field(description="For a whole reply while another deployment is left.", gt=0)
    ] = 60
    keep_alive_s: Annotated[
        float, Field(description="Seconds of silence after which a stream gets a comment.", gt=0)
    ] = 15
    stream_open_after_s: Annotated[
        float,
        Field(
            description="Seconds after which a stream without content yet is opened with "
            "keep-alives, errors then told in-band; 0: never.",
            ge=0,
        ),
    ] = 45

    @property
    def timeouts(self) -> Timeouts:
        """Patience with every provider that has none of its own."""
        return Timeouts(
            connect_s=self.connect_timeout_s,
            first_content_s=self.first_content_timeout_s,
            idle_s=self.idle_timeout_s,
            total_s=self.total_timeout_s,
            failover_first_content_s=min(
                self.failover_first_content_timeout_s, self.first_content_timeout_s
            ),
            failover_total_s=min(self.failover_total_timeout_s, self.total_timeout_s),
        )
