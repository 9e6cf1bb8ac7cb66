"""Where a request comes from: what a client writes about itself is not believed."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.web.client_address import client_address

PROXY = "10.0.0.1"
PRIVATE = ("10.0.0.0/8",)
BOTH = ("10.0.0.0/8", "2001:db8:f::/48")


def told(peer: str | None, forwarded: list[str], trusted: tuple[str, ...]) -> str | None:
    """The address of a client whose connection is from `peer`."""
    # Of several headers of one name the runtimes make one, with commas.
    header = ",".join(forwarded) if forwarded else None
    return client_address(peer, header, [ip_network(network) for network in trusted])


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        pytest.param("192.0.2.7", [], (), "192.0.2.7", id="peer"),
        pytest.param("192.0.2.7", ["198.51.100.1"], (), "192.0.2.7", id="nobody is trusted"),
        pytest.param("192.0.2.7", ["198.51.100.1"], PRIVATE, "192.0.2.7", id="stranger"),
        pytest.param("192.0.2.7", ["10.0.0.9"], PRIVATE, "192.0.2.7", id="stranger plays proxy"),
        pytest.param(PROXY, [], PRIVATE, PROXY, id="proxy by itself"),
        pytest.param(PROXY, [""], PRIVATE, PROXY, id="proxy tells nothing"),
        pytest.param(PROXY, ["192.0.2.7"], PRIVATE, "192.0.2.7", id="proxy"),
        pytest.param(PROXY, ["6.6.6.6, 192.0.2.7"], PRIVATE, "192.0.2.7", id="client spoofs"),
        pytest.param(PROXY, ["6.6.6.6", "192.0.2.7"], PRIVATE, "192.0.2.7", id="in two headers"),
        pytest.param(PROXY, ["10.0.0.9, 192.0.2.7"], PRIVATE, "192.0.2.7", id="client as proxy"),
        pytest.param(PROXY, ["192.0.2.7, 10.0.0.2"], PRIVATE, "192.0.2.7", id="two proxies"),
        pytest.param(
            PROXY, ["6.6.6.6,192.0.2.7 ,10.0.0.3,\t10.0.0.2"], PRIVATE, "192.0.2.7", id="three"
        ),
        pytest.param(PROXY, ["10.0.0.3, 10.0.0.2"], PRIVATE, "10.0.0.3", id="from within"),
        pytest.param(PROXY, ["192.0.2.7, 203.0.113.5"], PRIVATE, "203.0.113.5", id="other proxy"),
        pytest.param(PROXY, ["192.0.2.7, unknown"], PRIVATE, PROXY, id="garbage"),
        pytest.param(PROXY, ["unknown, 192.0.2.7"], PRIVATE, "192.0.2.7", id="garbage left"),
        pytest.param(PROXY, ["192.0.2.7,"], PRIVATE, PROXY, id="empty hop"),
        pytest.param(PROXY, ["192.0.2.7, x, 10.0.0.2"], PRIVATE, "10.0.0.2", id="garbage between"),
        pytest.param(PROXY, ["<script>"], PRIVATE, PROXY, id="script"),
        pytest.param(PROXY, ["192.0.2.256"], PRIVATE, PROXY, id="no address"),
        pytest.param(PROXY, ["0300.0.2.7"], PRIVATE, PROXY, id="octal"),
        pytest.param(PROXY, ["3221225991"], PRIVATE, PROXY, id="number"),
        pytest.param(PROXY, ["127.1"], PRIVATE, PROXY, id="short"),
        pytest.param(PROXY, ["192.0.2.7:4711"], PRIVATE, "192.0.2.7", id="port"),
        pytest.param(PROXY, ["192.0.2.7:471100"], PRIVATE, PROXY, id="no port"),
        pytest.param(PROXY, ["2001:db8::7"], PRIVATE, "2001:db8::7", id="IPv6"),
        pytest.param(PROXY, ["2001:0DB8:0::7"], PRIVATE, "2001:db8::7", id="IPv6 written long"),
        pytest.param(PROXY, ["[2001:db8::7]"], PRIVATE, "2001:db8::7", id="IPv6 in brackets"),
        pytest.param(PROXY, ["[2001:db8::7]:443"], PRIVATE, "2001:db8::7", id="IPv6 with port"),
        pytest.param(PROXY, ["fe80::1%<script>"], PRIVATE, PROXY, id="IPv6 with a zone"),
        pytest.param("::ffff:10.0.0.1", ["192.0.2.7"], PRIVATE, "192.0.2.7", id="mapped proxy"),
        pytest.param(PROXY, ["::ffff:192.0.2.7"], PRIVATE, "192.0.2.7", id="mapped client"),
        pytest.param("::ffff:192.0.2.7", ["6.6.6.6"], PRIVATE, "192.0.2.7", id="mapped stranger"),
        pytest.param(
            "2001:db8:f::1", ["192.0.2.7, 10.0.0.2"], BOTH, "192.0.2.7", id="proxies of both kinds"
        ),
        pytest.param("2001:db8:e::1", ["192.0.2.7"], BOTH, "2001:db8:e::1", id="IPv6 stranger"),
        pytest.param(None, ["192.0.2.7"], PRIVATE, None, id="no peer"),
        pytest.param("unix:", ["192.0.2.7"], PRIVATE, "unix:", id="socket of the file system"),
        pytest.param(PROXY, ["192.0.2.7"], ("0.0.0.0/0",), "192.0.2.7", id="all are trusted"),
    ],
)
def test_client_address(
    peer: str | None, forwarded: list[str], trusted: tuple[str, ...], expected: str | None
) -> None:
    assert expected == told(peer, forwarded, trusted)


@given(
    written=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], max_codepoint=0xFF), max_size=20)
        | st.ip_addresses().map(str),
        max_size=4,
    )
)
def test_nothing_that_a_client_writes_changes_who_it_is(written: list[str]) -> None:
    """Its proxy adds the address that it saw, behind whatever the client wrote."""
    assert "192.0.2.7" == told(PROXY, [", ".join([*written, "192.0.2.7"])], PRIVATE)
