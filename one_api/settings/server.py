"""Settings of the server, and of the providers' endpoints that it passes on."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from pydantic import Field

from one_api.settings.sources import Section
from one_api.settings.values import Networks, Origins, UrlPath


class ServerSection(Section):
    """Where to listen, and what of a request is read."""

    host: Annotated[str, Field(description="Address to listen on.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(description="Port to listen on.", ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(description="Server processes.", ge=1, le=256)] = 1
    debug: Annotated[bool, Field(description="Log in detail.")] = False
    api_prefix: Annotated[UrlPath, Field(description="Path before the OpenAI routes.")] = "/v1"
    cors_origins: Annotated[
        Origins, Field(description="Origins of browser apps that may call, comma-separated.")
    ] = ()
    trusted_proxies: Annotated[
        Networks,
        Field(description="Proxies that are believed who called them, comma-separated."),
    ] = ()
    max_body_mb: Annotated[
        float, Field(description="Largest request body, in MB (10^6 bytes).", gt=0, le=1024)
    ] = 32
    body_timeout_s: Annotated[
        float, Field(description="Seconds until a request body must be complete.", gt=0)
    ] = 30
    max_requests_in_flight: Annotated[
        int,
        Field(description="Requests that a process serves at once; more get a 503.", ge=1),
    ] = 8_192
    drain_timeout_s: Annotated[
        float, Field(description="Seconds running requests get to end on SIGTERM.", ge=0)
    ] = 30
    passthrough_enabled: Annotated[
        bool, Field(description="Pass requests for paths of the providers' own on to them.")
    ] = True
    passthrough_adapter: Annotated[
        str | None, Field(description="Adapter for passed-on requests that name no model.")
    ] = None
    max_upload_mb: Annotated[
        float,
        Field(description="Largest upload that is passed on, in MB (10^6 bytes).", gt=0),
    ] = 512

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_body_bytes(self) -> int:
        """The largest request body, in bytes."""
        return int(self.max_body_mb * 1_000_000)

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload that is passed on, in bytes."""
        return int(self.max_upload_mb * 1_000_000)
