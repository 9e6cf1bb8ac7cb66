"""Recorded replies, the events most of them have, and the parser's reading of them."""

from __future__ import annotations

from pathlib import Path

from one_api.adapter import Event, Finish, GatewayError, Start, Usage, UsageReport
from one_api_claude.from_wire import MessageParser, Reading

REPLIES = Path(__file__).parent / "replies"
CASES = sorted(path.stem for path in REPLIES.glob("*.sse"))

HEAD = [Start(id="chatcmpl-01Xq7ZTnRw", service_tier="default")]
USAGE = UsageReport(
    Usage(
        prompt_tokens=115,
        completion_tokens=7,
        cached_tokens=100,
        cache_write_tokens=5,
        reasoning_tokens=3,
    )
)
STOP = [USAGE, Finish("stop")]
STOPPED = Finish("stop", stop_sequence="END")
CALLED = [USAGE, Finish("tool_calls")]


def reply(case: str) -> bytes:
    return (REPLIES / f"{case}.sse").read_bytes()


def read(data: bytes, size: int = 0, reading: Reading | None = None) -> list[Event]:
    """The events of `data` fed in pieces of `size` bytes, 0 for all at once."""
    parser = MessageParser(reading or Reading())
    events: list[Event] = []
    for at in range(0, len(data), size or len(data)):
        events += parser.feed(data[at : at + (size or len(data))])
    return [*events, *parser.close()]


def told(data: bytes, size: int) -> tuple[list[Event], GatewayError | None]:
    """The events before the end or the error, and the error."""
    parser = MessageParser(Reading())
    events: list[Event] = []
    try:
        for at in range(0, len(data), size):
            events += parser.feed(data[at : at + size])
        events += parser.close()
    except GatewayError as error:
        return events, error
    return events, None
