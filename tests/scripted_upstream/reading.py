"""HTTP/1.1 requests out of a line: head, `Content-Length` and chunked bodies, `100-continue`."""

from __future__ import annotations

from tests.scripted_upstream.line import Line, MalformedRequestError
from tests.scripted_upstream.record import RequestHead


async def read_request(line: Line) -> tuple[RequestHead, bytes] | None:
    """The next request; None when the client left between two.

    Raises: MalformedRequestError.
    """
    raw = await line.read_until(b"\r\n\r\n")
    if not raw:
        return None
    head = parse_head(raw)
    headers = head.headers
    if headers.get("expect", "").lower() == "100-continue":
        await line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
            raise MalformedRequestError("ambiguous framing")
        return head, await _read_chunks(line)
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise MalformedRequestError(f"Content-Length {length!r}")
    return head, await line.read_exactly(int(length))


def parse_head(raw: bytes) -> RequestHead:
    """The request line and headers in `raw`.

    Raises: MalformedRequestError.
    """
    first, *rest = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1":
        raise MalformedRequestError(f"request line {first!r}")
    headers = []
    for field in rest:
        name, colon, value = field.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedRequestError(f"header {field!r}")
        headers.append((name, value.strip(" \t")))
    return RequestHead(method=words[0], target=words[1], raw_headers=tuple(headers))


async def _read_chunks(line: Line) -> bytes:
    body = b""
    while True:
        size = (await line.read_until(b"\r\n")).partition(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            raise MalformedRequestError(f"chunk size {size!r}") from None
        if length == 0:
            break
        body += await line.read_exactly(length)
        if await line.read_exactly(2) != b"\r\n":
            raise MalformedRequestError("a chunk that does not end where it said")
    while await line.read_until(b"\r\n") not in (b"\r\n", b""):
        pass  # trailers
    return body
