"""URLs: in normal form, or refused."""

from __future__ import annotations

import pytest

from one_api.upstream.target import Origin, parse_url


@pytest.mark.parametrize(
    ("url", "origin", "host_field", "path"),
    [
        ("http://h", Origin(False, "h", 80), "h", "/"),
        ("https://h/v1", Origin(True, "h", 443), "h", "/v1"),
        ("http://h:8080/v1?a=b#c", Origin(False, "h", 8080), "h:8080", "/v1?a=b"),
        ("https://H.Example:443/V1", Origin(True, "h.example", 443), "h.example", "/V1"),
        ("https://h.example./", Origin(True, "h.example.", 443), "h.example.", "/"),
        ("http://[::1]:8080/", Origin(False, "::1", 8080), "[::1]:8080", "/"),
        ("http://[fe80::1%25eth0]/", Origin(False, "fe80::1%eth0", 80), "[fe80::1]", "/"),
        (
            "http://bücher.example/",
            Origin(False, "xn--bcher-kva.example", 80),
            "xn--bcher-kva.example",
            "/",
        ),
        ("http://h/a/../b/./c/..", Origin(False, "h", 80), "h", "/b/"),
        ("http://h/../%2e%2E/a", Origin(False, "h", 80), "h", "/a"),
        ("http://h//a//b", Origin(False, "h", 80), "h", "//a//b"),
        (
            "http://h/é ü%2f%zz?q=a b&c=é%20",
            Origin(False, "h", 80),
            "h",
            "/%C3%A9%20%C3%BC%2f%25zz?q=a%20b&c=%C3%A9%20",
        ),
        (
            "http://h/m:generate?alt=sse&k=a/b?",
            Origin(False, "h", 80),
            "h",
            "/m:generate?alt=sse&k=a/b?",
        ),
    ],
)
def test_url_is_taken_apart(url: str, origin: Origin, host_field: str, path: str) -> None:
    target = parse_url(url)

    assert (origin, host_field, path) == (target.origin, target.host_field, target.path)
    assert target.authorization is None


@pytest.mark.parametrize(
    "url",
    [
        *("", "h", "//h/", "ftp://h/", "http://", "http:///v1", "http://h:x/", "http://h:99999/"),
        *("http://h\r\nX: 1/", "http://h/\r\nX: 1", "http://h/\n", "http://h/a\tb", "http://h\0/"),
        *("http://a b/", "http://h\\x/", "http://h%2f/", "http://" + "a" * 300, "http://[::1/"),
        *("http://[::g]/", "http://127.1/", "http://2130706433/", "http://1.2.3.400/"),
    ],
)
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_url(url)


def test_user_of_a_url_signs() -> None:
    assert "Basic dTpwQMOp" == parse_url("http://u:p%40%C3%A9@h/").authorization
