"""One account for each request: what it may use, what it has used, and what that cost.

A request is admitted once, by all of its limits together, before any provider is asked; and it is
closed once, with what was really used. In between whoever answers it notes what it sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from one_api.counters import Counters, Grant
from one_api.counters.memory import MemoryCounters
from one_api.errors import GatewayError, PermissionDenied
from one_api.observe import Exchange
from one_api.observe.observer import NOBODY
from one_api.policy.auth import NO_KEY_LIMITS, ApiKey, KeyLimits
from one_api.policy.demand import MODEL_NOT_PRICED, Demand, Measure
from one_api.policy.meter import DEFAULT_COMPLETION_TOKENS, Meter
from one_api.policy.prices import (
    PriceTable,
    bounded,
    bounded_cost_microusd,
    worst_case_microusd,
)
from one_api.policy.standing import refusal_of
from one_api.redaction import redact
from one_api.storage.entries import NO_TOKENS, BudgetCap, Budgets, Reservation, Settlement
from one_api.storage.ledger import Ledger

if TYPE_CHECKING:
    from one_api.deployment import Deployment
    from one_api.events import Usage

logger = logging.getLogger(__name__)

#: Keys whose meters are remembered at most: of an open gateway every address is one.
_MAX_METERS: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows: `per_key` where a key has no limit of its own, `overall` to all."""

    per_key: KeyLimits = NO_KEY_LIMITS
    overall: KeyLimits = NO_KEY_LIMITS


class AccountBook:
    """Opens accounts; one for each process.

    Without a `ledger` nothing is written down, and no budget can be kept. `max_body_chars` is how
    much is kept of what was asked and answered; 0 keeps nothing. Unless it `is_logging`, only what
    a request cost is written down, and not where it came from or what it was for.
    """

    def __init__(
        self,
        counters: Counters,
        ledger: Ledger | None,
        prices: PriceTable,
        limits: Limits,
        *,
        max_body_chars: int = 0,
        is_logging: bool = True,
    ) -> None:
        self.counters = counters
        self.ledger = ledger
        self.prices = prices
        self.limits = limits
        self.max_body_chars = max_body_chars
        self.is_logging = is_logging
        #: Whether what is kept of bodies is written down, too, and not only told to observers.
        self.logs_bodies = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._meters: dict[str, Meter] = {}

    def open(self, caller: ApiKey, request_id: str, exchange: Exchange | None = None) -> Account:
        """The account of one request of `caller`; `request_id` is unique for all time.

        What becomes of the request is told to `exchange`, which ends with the account.
        """
        return Account(self, caller, request_id, exchange or Exchange(NOBODY))

    def limits_calls(self, caller: ApiKey) -> bool:
        """Whether requests that ask no model are limited, too."""
        own = caller.limits.over(self.limits.per_key)
        return (
            own.requests_per_minute is not None
            or own.concurrent_requests is not None
            or self.limits.overall is not NO_KEY_LIMITS
        )

    def meter_of(self, caller: ApiKey) -> Meter:
        """What the requests of `caller` are counted by."""
        meter = self._meters.get(caller.id)
        if meter is None or meter.own is not caller.limits:
            if len(self._meters) >= _MAX_METERS:
                self._meters.clear()
            limits = self.limits
            meter = Meter(caller.id, caller.limits, per_key=limits.per_key, overall=limits.overall)
            self._meters[caller.id] = meter
        return meter

    def cost_of(self, deployment: Deployment, usage: Usage) -> int:
        """What a reply of `deployment` costs, in micro-dollars, whose `usage` is `bounded`."""
        price = self.prices.price_of(deployment)
        return 0 if price is None else bounded_cost_microusd(price, usage)

    def do_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something off the path of the request."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is still to be done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # Or those that are done stay: Python 3.12 waits for none.


class Account:
    """The account of one request; used on the event loop, but for `close`.

    `headers` say where the key stands. `is_handed_over` once a stream will close it.
    """

    is_handed_over = False
    request_body: str | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _grant: Grant | None = None
    _is_admitted = False
    _is_closed = False
    _is_refused = False
    _is_call = False
    _reply: bytearray | None = None

    def __init__(
        self,
        book: AccountBook,
        caller: ApiKey,
        request_id: str,
        exchange: Exchange,
    ) -> None:
        self._book = book
        self.caller = caller
        self.exchange = exchange
        exchange.key_id = caller.id
        self._request_id = request_id
        self._meter = book.meter_of(caller)
        #: Whether what is asked and answered is to be noted.
        self.keeps_bodies = book.max_body_chars > 0
        self.headers: dict[str, str] = {}

    # -- before

    def allows(self, model: str) -> bool:
        """Whether the key may ask for `model`, by the name that the client uses."""
        return self.caller.may_ask(model)

    async def admit(
        self, deployments: Sequence[Deployment], measure: Measure
    ) -> Sequence[Deployment]:
        """Take what the request will use; those of `deployments` that the key may be charged for.

        A second call, for the same request in another format, takes nothing more.
        Raises: RateLimitExceeded, BudgetExceeded, StorageUnavailable; PermissionDenied when a key
        with a budget asks for what has no price. A refused request has taken nothing.
        """
        meter = self._meter
        allowed = deployments
        budgets: Budgets = ()
        if meter.has_budgets:  # Few keys: the names of the periods alone take 5 µs.
            allowed, budgets = self._priced(deployments), self._budgets()
        if self._is_admitted:
            return allowed
        self._loop = asyncio.get_running_loop()
        demand: Demand | None = None
        if budgets or meter.counts_tokens:
            told = measure()
            demand = told if isinstance(told, Demand) else await told
        await self._take(demand)
        try:
            ledger = self._book.ledger
            if ledger is not None and demand is not None and budgets:
                most = self._most(allowed, demand)
                await ledger.reserve(self._reservation(allowed, most, budgets))
            elif ledger is not None:
                ledger.begin(self._reservation(allowed))
        except BaseException:
            self._give_back(meter.unused())
            self._is_refused = True
            raise
        self._is_admitted = True
        return allowed

    async def admit_call(self) -> None:
        """Admit a request that asks no model: it counts as one, and is not written down.

        Raises: RateLimitExceeded, StorageUnavailable.
        """
        self._loop = asyncio.get_running_loop()
        self._is_call = True
        await self._take(None)

    async def _take(self, demand: Demand | None) -> None:
        meter, counters = self._meter, self._book.counters
        asks = meter.asks(demand)
        if not asks:
            return
        if isinstance(counters, MemoryCounters):  # no task switch on the way to most requests
            grant = counters.take_nowait(asks)
        else:
            grant = await counters.take(asks)
        self.headers = meter.headers(grant)
        if not grant.is_granted:
            self._is_refused = True
            raise refusal_of(grant, self.headers)
        self._grant = grant

    def _reservation(
        self, deployments: Sequence[Deployment], most: int = 0, budgets: Budgets = ()
    ) -> Reservation:
        exchange, is_logging = self.exchange, self._book.is_logging
        return Reservation(
            request_id=self._request_id,
            key_id=self.caller.id,
            created_ms=time.time_ns() // 1_000_000,
            endpoint=exchange.endpoint if is_logging else "",
            model=deployments[0].model if deployments else "",
            estimate_microusd=most,
            budgets=budgets,
            client_address=exchange.client_address if is_logging else None,
        )

    def _most(self, deployments: Sequence[Deployment], demand: Demand) -> int:
        """What a request may cost at most, whichever of `deployments` answers."""
        completion = demand.completion_tokens
        if completion is None:
            completion = self.caller.limits.max_tokens or DEFAULT_COMPLETION_TOKENS
        prices = [self._book.prices.price_of(one) for one in deployments]
        return max(
            worst_case_microusd(price, demand.prompt_tokens, completion)
            for price in prices
            if price is not None
        )

    def _budgets(self) -> Budgets:
        limits = self.caller.limits
        today = datetime.now(UTC).date()
        caps = (
            (f"day:{today:%Y-%m-%d}", limits.budget_day_microusd),
            (f"month:{today:%Y-%m}", limits.budget_month_microusd),
            ("total", limits.budget_total_microusd),
        )
        return tuple(BudgetCap(period, cap) for period, cap in caps if cap is not None)

    def _priced(self, deployments: Sequence[Deployment]) -> Sequence[Deployment]:
        priced = [one for one in deployments if self._book.prices.price_of(one) is not None]
        if not priced:
            name = deployments[0].model if deployments else ""
            raise PermissionDenied(
                f"The model '{name}' has no price here, and this API key has a budget: ask the "
                "operator to give it one.",
                param="model",
                code=MODEL_NOT_PRICED,
            )
        return priced

    # -- meanwhile

    def note_usage(self, usage: Usage | None) -> None:
        """The deployment that answers has told what it used, or it was estimated."""
        self.exchange.usage = usage

    def note_error(self, error: GatewayError) -> None:
        """The client is told of `error`, as the status or within a stream."""
        self.exchange.error = error

    def hand_over(self, *, is_stream: bool = True) -> None:
        """The body that follows the response's head will close the account."""
        self.is_handed_over = True
        if is_stream:
            self.exchange.begin_stream()

    def note_request(self, body: bytes) -> None:
        """`body` is what the client asked with."""
        self.request_body = body[: self._book.max_body_chars].decode("utf-8", "replace")

    def note_reply(self, data: bytes) -> None:
        """`data` goes to the client; kept only where replies are logged."""
        if self._reply is None:
            self._reply = bytearray()
        room = self._book.max_body_chars - len(self._reply)
        if room > 0:
            self._reply += data[:room]

    # -- after

    def close(self, status: int) -> None:
        """Settle the account, once; from any thread. `status` is 499 when the client has gone."""
        if self._is_closed:
            return
        self._is_closed = True
        loop = self._loop
        if loop is None or self._is_refused:
            self.exchange.end(status)  # Not admitted: nothing was taken.
            return
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._settle(status)
        else:
            with contextlib.suppress(RuntimeError):  # The loop has closed, and all with it.
                loop.call_soon_threadsafe(self._settle, status)

    def _settle(self, status: int) -> None:
        exchange, tokens = self.exchange, 0
        usage, deployment = exchange.usage, exchange.deployment
        if usage is not None:
            # Providers have been seen to tell 10**12 tokens, or fewer than none.
            exchange.usage = usage = bounded(usage)
            tokens = usage.total_tokens
            if deployment is not None and exchange.cache is None:
                exchange.cost_microusd = self._book.cost_of(deployment, usage)
        exchange.request_body = self.request_body
        if self._reply is not None:
            exchange.reply_body = self._reply.decode("utf-8", "replace")
        exchange.end(status)
        if self._grant is not None:
            self._give_back(self._meter.used(tokens))
        ledger = self._book.ledger
        if ledger is not None and not self._is_call:
            ledger.settle(self._request_id, self._settlement(status, deployment))

    def _settlement(self, status: int, deployment: Deployment | None) -> Settlement:
        exchange, book = self.exchange, self._book
        error, usage = exchange.error, exchange.usage
        first_s = exchange.first_content_s
        request, reply, is_truncated = None, None, False
        if book.max_body_chars and book.logs_bodies:
            request, reply, is_truncated = self._bodies(book.max_body_chars)
        return Settlement(
            status=status,
            total_ms=round(exchange.total_s * 1000),
            error_code=None if error is None else error.code or error.type,
            deployment=None if deployment is None else deployment.name,
            attempts=len(exchange.attempts),
            is_stream=exchange.is_stream,
            first_content_ms=None
            if first_s is None
            else round((first_s - exchange.began_s) * 1000),
            usage=usage or NO_TOKENS,
            is_estimated=usage is not None and usage.estimated,
            cost_microusd=exchange.cost_microusd,
            cache=exchange.cache,
            request_body=request,
            reply_text=reply,
            is_truncated=is_truncated,
        )

    def _bodies(self, max_chars: int) -> tuple[str | None, str | None, bool]:
        """What was asked and answered, without secrets, and whether some of it is left out."""
        request, reply = self.request_body, self.exchange.reply_body
        is_truncated = max(len(request or ""), len(self._reply or b"")) >= max_chars
        return (
            redact(request, max_chars) if request else None,
            redact(reply, max_chars) if reply else None,
            is_truncated,
        )

    def _give_back(self, actual: Mapping[str, int]) -> None:
        """Correct what was taken to what was used, and let others run."""
        grant, self._grant = self._grant, None
        if grant is None:
            return
        counters = grant.origin
        if isinstance(counters, MemoryCounters):  # A task takes longer than all that it would do.
            counters.give_back_nowait(grant, actual)
        elif actual or grant.leased:
            self._book.do_later(_return(grant, actual))


async def _return(grant: Grant, actual: Mapping[str, int]) -> None:
    if actual:
        await grant.origin.settle(grant, actual)
    if grant.leased:
        await grant.origin.release(grant)
