"""Where a request comes from, past the proxies that the operator trusts."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import flask

Network = IPv4Network | IPv6Network


def client_address(trusted: Sequence[Network]) -> str | None:
    """The address of the client, or of the first proxy that is not `trusted`.

    Each trusted proxy has added the address it was called from at the right end of
    `X-Forwarded-For`; what stands left of the first one that is not trusted anybody may have sent.
    """
    address = flask.request.remote_addr
    if not trusted or address is None:
        return address
    hops = [hop.strip() for hop in flask.request.headers.get("X-Forwarded-For", "").split(",")]
    while hops and _is_within(address, trusted):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = hop
    return address


def _is_within(address: str, networks: Sequence[Network]) -> bool:
    if not _is_address(address):
        return False
    parsed = ip_address(address)
    return any(parsed in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
