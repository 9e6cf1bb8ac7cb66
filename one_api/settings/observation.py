"""Settings of what an operator sees of the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from one_api.errors import ConfigurationError
from one_api.settings.sources import Section
from one_api.settings.values import AdminSecret

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+):(?P<port>\d{1,5})")


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        raise ValueError("an address such as '127.0.0.1:9464' or '[::1]:9464' is needed")
    return value


Address = Annotated[str, AfterValidator(_address)]


class ObservationSection(Section):
    """Metrics, and what responses tell of their time."""

    metrics_token: Annotated[
        AdminSecret | None, Field(description="Token for /metrics; without one, a 403 there.")
    ] = None
    metrics_bind: Annotated[
        Address | None,
        Field(description="HOST:PORT where metrics are told to whoever can reach it."),
    ] = None
    metrics_dir: Annotated[
        Path | None,
        Field(description="Directory by which processes of other servers add up their metrics."),
    ] = None
    server_timing: Annotated[
        bool, Field(description="Tell in each response what part of its time was ours.")
    ] = False

    @property
    def has_metrics(self) -> bool:
        """Whether anybody may read metrics."""
        return self.metrics_token is not None or self.metrics_bind is not None

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the metrics' own listener."""
        if self.metrics_bind is None:
            return None
        host, _, port = self.metrics_bind.rpartition(":")
        return host.strip("[]"), int(port)

    def require_metrics_apart(self, keys: Iterable[SecretStr]) -> None:
        """Raises: ConfigurationError when one of `keys` is the token of metrics."""
        if self.metrics_token is not None and self.metrics_token in tuple(keys):
            raise ConfigurationError("METRICS_TOKEN", "it is a key as well", "another token")
