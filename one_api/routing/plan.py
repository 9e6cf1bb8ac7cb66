"""In which order to ask, and whom not to ask, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from one_api.deployment import Deployment
from one_api.errors import GatewayError, NoDeploymentAvailable, UpstreamRateLimited

#: What to tell callers to wait when nobody knows, in seconds.
_DEFAULT_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A deployment that is not asked now.

    `reason` is a short phrase for operators. `until_s` is in how many seconds that is expected to
    change, None when nobody knows. `is_rate_limited` says that the provider's own 429 is why.
    """

    deployment: Deployment
    reason: str
    until_s: float | None
    is_rate_limited: bool = False


class Plan(NamedTuple):
    """The deployments to ask, in order.

    `is_last_resort` says that the only one listed is expected to fail, and that the others cannot
    be asked at all or are expected to be away for longer.
    """

    deployments: tuple[Deployment, ...]
    skipped: tuple[Skipped, ...] = ()
    is_last_resort: bool = False

    def refusal(self) -> GatewayError:
        """What to tell the caller when there is nothing to ask."""
        waits = [skipped.until_s for skipped in self.skipped if skipped.until_s is not None]
        wait_s = min(waits, default=_DEFAULT_WAIT_S)
        if self.skipped and all(skipped.is_rate_limited for skipped in self.skipped):
            return UpstreamRateLimited(
                "The providers of this model limit the gateway's rate at the moment.",
                retry_after_s=wait_s,
            )
        return NoDeploymentAvailable(
            "Nothing that serves this model can be asked at the moment.", retry_after_s=wait_s
        )
