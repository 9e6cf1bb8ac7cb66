"""One attempt at one deployment, and what is learnt from it."""

from __future__ import annotations

from collections.abc import Mapping

from one_api.deployment import NO_LIMITS, Deployment
from one_api.errors import GatewayError, UpstreamTimeout
from one_api.routing.breaker import Ticket
from one_api.routing.health import Health


class Trial:
    """The permission to ask a deployment once.

    Must end with one of `succeed`, `fail`, `end_probe` and `abandon`: the first one counts, later
    ones are ignored. Until then it holds a place among the deployment's requests in flight, and the
    permit of a breaker's probe where it is one.
    """

    __slots__ = (
        "_began_at_s",
        "_credential_ticket",
        "_has_content",
        "_health",
        "_is_over",
        "_ticket",
        "deployment",
    )

    def __init__(self, deployment: Deployment, health: Health, now_s: float) -> None:
        self.deployment = deployment
        self._health = health
        self._began_at_s = now_s
        self._has_content = False
        self._is_over = False
        health.count_request(deployment.limits, now_s)
        was_open = health.breaker.state == "open"
        self._ticket: Ticket = health.breaker.begin(now_s)
        self._credential_ticket: Ticket = health.credential.begin(now_s)
        if was_open and health.breaker.state == "half_open":
            health.tell("half_opened", "the cooldown is over: one request tries")

    def note_headers(self, headers: Mapping[str, str]) -> None:
        """The head of the reply has come; `headers` ignores case."""
        self._health.note_headers(headers, self._health.surroundings.clock())

    def note_first_content(self) -> None:
        """A stream's first content has come: it lives, which ends a probe well before its end."""
        if self._has_content or self._is_over:
            return
        self._has_content = True
        health = self._health
        now_s = health.surroundings.clock()
        health.timeouts.note_first_content(now_s - self._began_at_s, now_s)
        if health.breaker.state != "closed" and self._close(now_s):
            self._ticket = health.breaker.begin(now_s)
        if health.credential.state != "closed" and self._restore(now_s):
            self._credential_ticket = health.credential.begin(now_s)

    def succeed(self, *, tokens: int = 0) -> None:
        """The reply is complete; `tokens` is prompt and completion together."""
        if not self._end():
            return
        health = self._health
        now_s = health.surroundings.clock()
        if not self._has_content:
            health.timeouts.note_whole_reply(now_s - self._began_at_s, now_s)
        limits = self.deployment.limits
        if limits is not NO_LIMITS:
            health.count_tokens(limits, tokens, now_s)
        health.note_success()
        self._close(now_s)
        self._restore(now_s)

    def fail(self, error: GatewayError) -> None:
        """It failed with `error`, whose class attributes say what that tells of the deployment."""
        if not self._end():
            return
        health = self._health
        now_s = health.surroundings.clock()
        self._judge(error, now_s)
        if error.status == UpstreamTimeout.status and not self._has_content:
            waited_s = now_s - self._began_at_s
            health.timeouts.note_timeout(waited_s, self.deployment.timeouts, now_s)

    def end_probe(self, error: GatewayError | None = None) -> None:
        """It was no request, but a look whether the provider lives: with `error` it does not.

        That counts for breaker and credential; of times and tokens nothing is learnt.
        """
        if not self._end():
            return
        now_s = self._health.surroundings.clock()
        if error is not None:
            self._judge(error, now_s)
            return
        self._close(now_s)
        self._restore(now_s)

    def abandon(self) -> None:
        """The client left, or nothing was sent: nothing is learnt, and a probe's permit is free."""
        if self._end():
            self._health.breaker.abandon(self._ticket)
            self._health.credential.abandon(self._credential_ticket)

    def _end(self) -> bool:
        """Whether this is the first end."""
        if self._is_over:
            return False
        self._is_over = True
        self._health.in_flight -= 1
        return True

    def _close(self, now_s: float) -> bool:
        is_closed = self._health.breaker.succeed(self._ticket, now_s)
        if is_closed:
            self._health.tell("closed", "the provider answers again")
        return is_closed

    def _restore(self, now_s: float) -> bool:
        is_restored = self._health.credential.succeed(self._credential_ticket, now_s)
        if is_restored:
            self._health.tell("credential_restored", "the provider takes the credential again")
        return is_restored

    def _judge(self, error: GatewayError, now_s: float) -> None:
        """What `error` says of the deployment and of its credential."""
        health = self._health
        if error.is_outage:
            if health.breaker.fail(self._ticket, now_s):
                reason = f"{health.breaker.opened_because}: {error.code}"
                health.tell("opened", reason, health.breaker.cooldown_s)
        else:
            self._close(now_s)
        self._judge_credential(error, now_s)
        if error.retryable:
            health.note_error(error, now_s)

    def _judge_credential(self, error: GatewayError, now_s: float) -> None:
        credential = self._health.credential
        if error.blames_credential:
            if credential.fail(self._credential_ticket, now_s):
                reason = f"the credential of '{self._health.adapter}' is refused: {error.code}"
                self._health.tell("credential_rejected", reason, credential.cooldown_s)
        elif error.is_outage:
            credential.abandon(self._credential_ticket)
        else:
            self._restore(now_s)
