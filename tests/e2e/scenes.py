"""One test's model at a provider that all tests share."""

from __future__ import annotations

import secrets
import time

from tests.scripted_upstream import (
    DONE,
    HELLO,
    Answer,
    RecordedRequest,
    Reply,
    ScriptedUpstream,
    anthropic_error,
    anthropic_error_body,
    anthropic_events,
    anthropic_frames,
    openai_chunks,
    openai_completion,
    openai_error,
    openai_error_body,
    openai_frames,
    sse_frame,
    sse_reply,
)


class Scene:
    """A model with a name of its own, so that only this test's requests and replies are seen.

    `name` is the provider's name for the model, `model` the one clients of the gateway use.
    """

    def __init__(self, upstream: ScriptedUpstream, adapter: str) -> None:
        self.upstream = upstream
        self.name = f"model-{secrets.token_hex(6)}"
        self.model = f"{adapter}/{self.name}"

    def script(self, *replies: Reply, repeat_last: bool = False) -> None:
        """Answer this model's requests with `replies`, one each, in order."""
        self.upstream.script(*replies, model=self.name, repeat_last=repeat_last)

    def ask(self, text: str = "Hello?", **fields: object) -> dict[str, object]:
        """The body of a chat request to this model."""
        return {"model": self.model, "messages": [{"role": "user", "content": text}], **fields}

    # -- what the provider of this scene sends, in its own format

    @property
    def is_openai(self) -> bool:
        """Whether the provider speaks OpenAI's format; else it speaks Anthropic's."""
        return self.model.startswith("openai/")

    def frames(self, answer: Answer = HELLO) -> list[bytes]:
        """The events of a stream."""
        if self.is_openai:
            return openai_frames(openai_chunks(answer))
        return anthropic_frames(anthropic_events(answer))

    def begun(self, answer: Answer = HELLO) -> list[bytes]:
        """The events up to the last word, and none of those that end a stream."""
        ends = (b'"usage":{', b'"finish_reason":"', DONE, b"content_block_stop", b"message_stop")
        is_opening = b'"message_start"'
        return [
            frame
            for frame in self.frames(answer)
            if is_opening in frame or not any(end in frame for end in ends)
        ]

    def opening(self) -> list[bytes]:
        """The events before the first content."""
        if self.is_openai:
            return self.frames()[:1]
        return self.frames()[:3]  # message_start, content_block_start, ping

    def streamed(self, answer: Answer = HELLO) -> Reply:
        """A streamed reply."""
        return sse_reply(self.frames(answer))

    def whole(self, answer: Answer = HELLO) -> Reply:
        """The reply for a client that wants no stream; Anthropic is asked for one all the same."""
        return openai_completion(answer) if self.is_openai else self.streamed(answer)

    def refused(self, status: int, message: str = "scripted failure", **headers: str) -> Reply:
        """An error reply; underscores in the names of `headers` stand for hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.is_openai:
            return openai_error(status, message, headers=given)
        return anthropic_error(status, message=message, headers=given)

    def error_frame(self, message: str = "scripted failure") -> bytes:
        """An error told inside a stream."""
        if self.is_openai:
            return sse_frame(openai_error_body(message))
        return sse_frame(anthropic_error_body("api_error", message), event="error")

    # -- what the provider has seen

    @property
    def requests(self) -> list[RecordedRequest]:
        """This model's requests so far, in order of arrival."""
        return [request for request in self.upstream.requests if request.model == self.name]

    @property
    def request(self) -> RecordedRequest:
        """The one request there was."""
        (request,) = self.requests
        return request

    def wait_for_request(self, timeout_s: float = 5.0) -> RecordedRequest:
        """The first request, once it has arrived.

        Raises: AssertionError when none comes in time.
        """
        deadline = time.monotonic() + timeout_s
        seen = 0
        while not self.requests:
            seen = len(self.upstream.wait_for_requests(seen + 1, deadline - time.monotonic()))
        return self.requests[0]
