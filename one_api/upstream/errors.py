"""What goes wrong below the meaning of a reply, before it is told to anybody."""

from __future__ import annotations

from one_api.errors import UpstreamDisconnected


class InvalidHTTPError(Exception):
    """What arrived is not a reply of HTTP/1.1, or has a larger head than we take."""


class StaleConnection(UpstreamDisconnected):
    """The provider had closed a pooled connection: it never read the request."""
