"""One test's model at a provider that all tests share."""

from __future__ import annotations

import secrets
import time

from tests.scripted_upstream import RecordedRequest, Reply, ScriptedUpstream


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
