"""Where a request comes from, past the proxies that the operator trusts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

#: An address with the port that some proxies add.
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")


def client_address(
    peer: str | None, forwarded_for: str | None, trusted: Sequence[Network]
) -> str | None:
    """The address of the client, or of the first proxy that is not `trusted`.

    `peer` is who called us. Each trusted proxy has added the address it was called from at the
    right end of `forwarded_for`, the header `X-Forwarded-For`; what stands left of the first one
    that is not trusted anybody may have sent.
    """
    if not trusted or peer is None:
        return peer
    address = _parsed(peer)
    if address is None:
        return peer
    hops = (forwarded_for or "").split(",")
    while hops and any(address in network for network in trusted):
        match = _WITH_PORT.fullmatch(hop := hops.pop().strip())
        before = _parsed(match[1] or match[2] if match else hop)
        if before is None:
            break
        address = before
    return str(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address, that of IPv4 also where it is written as IPv6: a socket for both tells it so."""
    if "%" in text:
        return None  # Whatever follows is no part of the address, and may be any text.
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
