"""One client's request and its reply, as facts: who asked what, who answered, and how it went."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from one_api.observe.pace import Pace

if TYPE_CHECKING:
    from one_api.deployment import Deployment
    from one_api.errors import GatewayError
    from one_api.events import Usage
    from one_api.observe.observer import Observers


class AttemptFacts:
    """One deployment that was asked.

    Times are of `time.perf_counter`. `ended_s` is when it committed to an answer or failed, None
    while it is waited for; `error` is the code it failed with, None where it committed.
    """

    __slots__ = ("began_s", "deployment", "ended_s", "error")

    def __init__(self, deployment: Deployment, began_s: float) -> None:
        self.deployment = deployment
        self.began_s = began_s
        self.ended_s: float | None = None
        self.error: str | None = None


class Exchange:
    """The facts of one request; they grow until `end`, and are read only after it.

    `request_id` is what the client is told. `endpoint` is the route's rule, so that it is one of
    few. `key_id` is None for whoever needs no API key. `model` is the client's name for it, ""
    where none was asked for: anything may stand there. Times are of `time.perf_counter`.
    """

    # What stays as it is here costs nothing, and most requests set a third of it: with a slot for
    # each, which has to be filled, a request begins in 89 opcodes instead of 35.
    client_address: str | None = None
    #: What was asked and answered, for observers that want bodies; cut to what is kept of them.
    request_body: str | None = None
    reply_body: str | None = None
    key_id: str | None = None
    model = ""
    usage: Usage | None = None
    cost_microusd = 0
    cache: str | None = None
    error: GatewayError | None = None
    is_stream = False
    status = 0
    pace: Pace | None = None
    #: Whatever the observer that traces wants to find again.
    span: object = None
    #: When the first deployment was asked.
    asked_s: float | None = None
    #: When its answer was here: the whole of it, or the first content of a stream.
    answered_s: float | None = None
    first_content_s: float | None = None
    #: When the head of the response was made.
    finished_s: float | None = None
    #: When the last of the response was given to the server.
    ended_s: float | None = None

    def __init__(
        self,
        observers: Observers,
        request_id: str = "",
        *,
        method: str = "POST",
        endpoint: str = "",
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> None:
        self.observers = observers
        self.request_id = request_id
        self.method = method
        self.endpoint = endpoint
        #: What the client says of the trace that this request is part of.
        self.traceparent = traceparent
        self.tracestate = tracestate
        self.attempts: list[AttemptFacts] = []
        self.began_s = time.perf_counter()
        observers.began(self)

    # -- meanwhile

    def ask(self, deployment: Deployment) -> AttemptFacts:
        """`deployment` is asked now; end what is returned with `end_attempt`."""
        now_s = time.perf_counter()
        attempt = AttemptFacts(deployment, now_s)
        if self.asked_s is None:
            self.asked_s = now_s
        self.attempts.append(attempt)
        self.observers.asked(self, attempt)
        return attempt

    def end_attempt(self, attempt: AttemptFacts, error: str | None = None) -> None:
        """`attempt` has committed to an answer, or failed with the code `error`."""
        attempt.ended_s = time.perf_counter()
        attempt.error = error
        self.observers.answered(self, attempt)

    def withdraw_attempt(self, attempt: AttemptFacts) -> None:
        """Nothing was sent to the provider: its adapter had refused before."""
        if attempt in self.attempts:
            self.attempts.remove(attempt)
            self.asked_s = self.attempts[0].began_s if self.attempts else None

    def note_answered(self) -> None:
        """The deployment's part is done, or its first content is here."""
        if self.answered_s is None:
            self.answered_s = time.perf_counter()

    def note_first_content(self) -> None:
        """The first content of a stream is here."""
        if self.first_content_s is None:
            self.first_content_s = time.perf_counter()
            self.note_answered()

    def begin_stream(self) -> None:
        """The response goes on as a stream after its head."""
        if not self.is_stream:
            self.is_stream = True
            self.pace = Pace()
            self.observers.streaming(self)

    def note_finished(self) -> float:
        """The head of the response is made: after so many seconds."""
        self.finished_s = finished_s = time.perf_counter()
        return finished_s - self.began_s

    def end(self, status: int) -> None:
        """The exchange is over, once; `status` is 499 where the client did not wait."""
        if self.ended_s is None:
            self.status = status
            self.ended_s = time.perf_counter()
            self.observers.ended(self)

    # -- after

    @property
    def deployment(self) -> Deployment | None:
        """Who answered, or was asked last."""
        return self.attempts[-1].deployment if self.attempts else None

    @property
    def total_s(self) -> float:
        """Seconds from the request to the end of its response, or until now."""
        return (self.ended_s or time.perf_counter()) - self.began_s

    @property
    def time_to_first_content_s(self) -> float | None:
        """Seconds until a stream's first content."""
        return None if self.first_content_s is None else self.first_content_s - self.began_s

    @property
    def overhead_s(self) -> float | None:
        """Seconds of our own: before a deployment was asked, and from its answer to the response.

        Of a stream, until its first content was passed on. None where nothing was answered.
        """
        if self.finished_s is None:
            return None
        if self.asked_s is None:
            return self.finished_s - self.began_s
        answered_s = self._answered_or_failed_s
        if answered_s is None:
            return None
        return self.asked_s - self.began_s + max(self.finished_s - answered_s, 0.0)

    @property
    def upstream_s(self) -> float | None:
        """Seconds that deployments took, with the pauses between them; None where none answered."""
        answered_s = self._answered_or_failed_s
        return None if self.asked_s is None or answered_s is None else answered_s - self.asked_s

    @property
    def _answered_or_failed_s(self) -> float | None:
        """When there was no more to wait for: an answer, or that the last attempt had failed."""
        if self.answered_s is not None:
            return self.answered_s
        return self.attempts[-1].ended_s if self.attempts else None
