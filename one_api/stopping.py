"""Stop sequences enforced on the way, for providers that do not see to them, or not to so many."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from one_api.adapter.http import MAX_REPLY_BYTES
from one_api.adapter.stop import StopScanner
from one_api.converter import ReplyForm
from one_api.errors import UpstreamInvalidResponse
from one_api.events import Annotation, Event, Finish, Relay, TextDelta, UsageReport
from one_api.linger import next_event
from one_api.relay import ChunkReader, read_body


async def enforce_stops(
    source: AsyncGenerator[Event, None], stops: Sequence[str], *, choices: int
) -> AsyncGenerator[Event, None]:
    """The events of `source`, the text of each choice up to the first of `stops` in it.

    Text is held back only while it may be the beginning of a stop sequence. When all `choices`
    choices have ended, and a stop sequence ended one of them, the rest is not waited for: it would
    be paid for and thrown away. Usage that would have been told there is not known then.
    `source` relays nothing (see `read_relayed`); it is closed here.
    """
    replies: dict[int, _Choice] = defaultdict(partial(_Choice, stops))
    async with aclosing(source):
        async for event in source:
            choice: int | None = getattr(event, "choice", None)
            if choice is None:
                yield event
                continue
            for passed in replies[choice].take(event):
                yield passed
            if replies[choice].has_ended and _are_over(replies.values(), choices):
                return


async def read_relayed(
    source: AsyncGenerator[Event, None], form: ReplyForm, *, is_stream: bool, choices: int = 1
) -> AsyncGenerator[Event, None]:
    """The events of `source`, a reply of `choices` choices, with what it relays read as events.

    It is closed here.

    Raises: the provider's error when a relayed reply tells one; UpstreamDisconnected when it was
    cut; UpstreamInvalidResponse.
    """
    reader: ChunkReader | _BodyReader | None = None
    async with aclosing(source):
        while (event := await next_event(source, reader, choices)) is not None:
            if not isinstance(event, Relay):
                yield event
                continue
            if reader is None:
                reader = ChunkReader(form) if is_stream else _BodyReader(form)
            for told in reader.feed(event.data):
                yield told
            if reader.is_done:
                break
    if reader is not None:
        for told in reader.close():
            yield told


class _BodyReader:
    """Reads a complete reply as a `ChunkReader` reads a stream: it tells all in the end."""

    is_done = False
    usage = None

    def __init__(self, form: ReplyForm) -> None:
        self._form = form
        self._body = bytearray()

    def feed(self, data: bytes) -> tuple[Event, ...]:
        self._body += data
        if len(self._body) > MAX_REPLY_BYTES:
            raise UpstreamInvalidResponse("The provider's reply is too large.")
        return ()

    def has_finished(self, choices: int) -> bool:
        """Never before its end."""
        return False

    def close(self) -> list[Event]:
        told = read_body(bytes(self._body), self._form)
        # The usage first: it is known, and must not be lost with what a stop sequence cuts off.
        return sorted(told, key=lambda event: not isinstance(event, UsageReport))


class _Choice:
    """One choice on its way: its text leaves in the deltas it came in, as far as it may."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._scanner = StopScanner(stops)
        self._held: deque[TextDelta] = deque()
        self.has_ended = False

    @property
    def is_stopped(self) -> bool:
        """Whether a stop sequence ended it."""
        return self._scanner.matched is not None

    def take(self, event: Event) -> Iterator[Event]:
        """What may be sent on now that `event` came; nothing more once the choice has ended."""
        if self.has_ended:
            return
        if isinstance(event, TextDelta):
            self._held.append(event)
            yield from self._given(len(self._scanner.feed(event.text)))
            if self.is_stopped:
                self.has_ended = True
                yield Finish("stop", event.choice, self._scanner.matched)
            return
        if not isinstance(event, Annotation):
            # A text is complete that something else follows, and stands before it.
            yield from self._given(len(self._scanner.close()))
        self.has_ended = isinstance(event, Finish)
        yield event

    def _given(self, chars: int) -> Iterator[TextDelta]:
        """The first `chars` characters of what was held."""
        while self._held and len(self._held[0].text) <= chars:
            delta = self._held.popleft()
            chars -= len(delta.text)
            yield delta
        if chars:
            first, rest = _split(self._held.popleft(), chars)
            self._held.appendleft(rest)
            yield first


def _are_over(replies: Iterable[_Choice], choices: int) -> bool:
    ended = [reply for reply in replies if reply.has_ended]
    return len(ended) >= choices and any(reply.is_stopped for reply in ended)


def _split(delta: TextDelta, chars: int) -> tuple[TextDelta, TextDelta]:
    """`delta` cut after `chars` characters; each part with the logprobs of its tokens."""
    head: Mapping[str, Any] | None = None
    tail: Mapping[str, Any] | None = None
    if delta.logprobs is not None:
        tokens = list(delta.logprobs.get("content") or ())
        count = begins_at = 0
        while count < len(tokens) and begins_at < chars:
            begins_at += _length(tokens[count])
            count += 1
        head = {**delta.logprobs, "content": tokens[:count]}
        tail = {**delta.logprobs, "content": tokens[count:]}
    return (
        TextDelta(delta.text[:chars], delta.choice, head),
        TextDelta(delta.text[chars:], delta.choice, tail),
    )


def _length(token: object) -> int:
    text = token.get("token") if isinstance(token, Mapping) else None
    return len(text) if isinstance(text, str) else 0
