"""How passed-on replies end, and what is charged for them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from one_api.adapter.http_errors import error_from_status, parse_retry_after_s
from one_api.delivery import CLIENT_GONE
from one_api.errors import GatewayError, UpstreamError
from one_api.events import Usage
from one_api.relay.usage import UsageScan

if TYPE_CHECKING:
    from one_api.adapter.http import WireReply
    from one_api.failover import Attempt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a passed-on request is charged for.

    Only what makes something `is_due`: a reply that was stored and is read again tells its usage
    again. `prompt_tokens` is our own count, for a reply whose usage never came.
    """

    is_due: bool
    prompt_tokens: int = 0


class Ending:
    """How one passed-on reply ended, for the trial and the account."""

    def __init__(self, reply: WireReply, attempt: Attempt, charge: Charge) -> None:
        self._reply = reply
        self._attempt = attempt
        self._charge = charge
        self._account = attempt.context.account
        self._scan = UsageScan() if self._account is not None else None
        self._frames = 0
        self._has_begun = False
        self.is_complete = False
        self.error: UpstreamError | None = None

    def note(self, data: bytes) -> None:
        """`data` goes to the client."""
        if not self._has_begun:
            self._has_begun = True
            if is_stream_of(self._reply):
                self._attempt.note_first_content()
            else:
                self._attempt.note_answered()
        if self._account is not None and self._scan is not None:
            pace = self._account.exchange.pace
            if pace is not None:
                pace.note()
            self._scan.feed(data)
            self._frames += data.count(b"\n\n")
            self._account.note_reply(data)

    def tell(self) -> None:
        """Decide the trial and close the account."""
        attempt, account, status = self._attempt, self._account, self._reply.status
        usage = self._usage()
        if self.error is not None:
            attempt.fail(self.error)
            logger.warning(
                "request %s: the passed-on reply was cut: %s",
                attempt.context.request_id,
                self.error.message,
            )
        elif self.is_complete and status < 400:
            attempt.succeed(usage)
        elif self.is_complete:
            attempt.fail(failure_of(self._reply))
        attempt.trial.abandon()  # Only where nothing was decided: the client left.
        if account is None:
            return
        account.note_usage(usage)
        if self.error is not None:
            account.note_error(self.error)
        has_left = not self.is_complete and self.error is None
        account.close(CLIENT_GONE if has_left else status)

    def _usage(self) -> Usage | None:
        """What the reply told; of a stream that did not end about as many tokens as events."""
        if self._scan is None or not self._charge.is_due:
            return None
        told = self._scan.usage()
        if self.is_complete or not is_stream_of(self._reply):
            return told
        # Anthropic's streams tell a token or a few at their beginning, and all at their end only.
        if told is not None and told.completion_tokens * 2 > self._frames:
            return told
        told = told or Usage(prompt_tokens=self._charge.prompt_tokens, completion_tokens=0)
        return replace(told, completion_tokens=self._frames, estimated=True)


def failure_of(reply: WireReply) -> GatewayError:
    """What a reply's status means; its body is the client's."""
    return error_from_status(
        reply.status,
        "",
        retry_after_s=parse_retry_after_s(reply.headers, now_s=time.time()),
    )


def is_stream_of(reply: WireReply) -> bool:
    """Whether the reply comes as server-sent events."""
    return reply.headers.get("content-type", "").startswith("text/event-stream")
