"""What really happened to each request: the truth that tests compare the gateway's story with."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from tests.scripted_upstream.line import LeftBy


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request's first line and headers, as they came."""

    method: str
    target: str
    raw_headers: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the question mark; empty without one."""
        return self.target.partition("?")[2]

    @property
    def headers(self) -> dict[str, str]:
        """Values by lower-case name; repeated headers are joined with a comma."""
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined


class RecordedRequest:
    """One request and what became of its reply; safe to read from any thread.

    Times are `time.monotonic()` values. `connection` counts the upstream's connections from 0:
    requests with the same number shared one.
    """

    def __init__(
        self, head: RequestHead, body: bytes, connection: int, changed: threading.Condition
    ) -> None:
        self.method = head.method
        self.target = head.target
        self.path = head.path
        self.query = head.query
        self.raw_headers = head.raw_headers
        self.headers = head.headers
        self.body = body
        self.connection = connection
        self.arrived_at = time.monotonic()
        self._changed = changed
        self._bytes_sent = 0
        self._closed_at: float | None = None
        self._closed_by: LeftBy | None = None
        self._finished_at: float | None = None

    @override
    def __repr__(self) -> str:
        return f"<{self.method} {self.target}, {len(self.body)} bytes, model {self.model!r}>"

    @property
    def json(self) -> Any:
        """The decoded body.

        Raises: ValueError for a body that is not JSON.
        """
        return json.loads(self.body)

    @property
    def model(self) -> str | None:
        """The `model` of a JSON body, if there is one."""
        try:
            body = self.json
        except ValueError:
            return None
        model = body.get("model") if isinstance(body, dict) else None
        return model if isinstance(model, str) else None

    @property
    def bytes_sent(self) -> int:
        """Bytes of the reply the kernel took, status line and framing included."""
        return self._bytes_sent

    @property
    def closed_at(self) -> float | None:
        """When the client left before the script's last step was played; None if it did not."""
        return self._closed_at

    @property
    def closed_by(self) -> LeftBy | None:
        """How the client left before the script's last step was played."""
        return self._closed_by

    @property
    def finished_at(self) -> float | None:
        """When the last step of the script was played."""
        return self._finished_at

    def wait_closed(self, timeout_s: float = 5.0) -> float:
        """`closed_at`, once the client left.

        Raises: AssertionError when the reply was finished before, or nothing happened in time.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, timeout_s)
            if self._closed_at is None:
                raise AssertionError(f"{self!r}: the client did not leave; {self._state()}")
            return self._closed_at

    def wait_finished(self, timeout_s: float = 5.0) -> float:
        """`finished_at`, once the last step was played.

        Raises: AssertionError when the client left before, or nothing happened in time.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, timeout_s)
            if self._finished_at is None:
                raise AssertionError(f"{self!r}: the reply was not finished; {self._state()}")
            return self._finished_at

    async def until_closed(self, timeout_s: float = 5.0) -> float:
        """`wait_closed` for a test whose client lives on the same event loop."""
        return await asyncio.to_thread(self.wait_closed, timeout_s)

    async def until_finished(self, timeout_s: float = 5.0) -> float:
        """`wait_finished` for a test whose client lives on the same event loop."""
        return await asyncio.to_thread(self.wait_finished, timeout_s)

    def _is_settled(self) -> bool:
        return self._closed_at is not None or self._finished_at is not None

    def _state(self) -> str:
        if self._closed_at is not None:
            return f"it left ({self._closed_by}) after {self._bytes_sent} bytes"
        if self._finished_at is not None:
            return f"the whole reply of {self._bytes_sent} bytes was sent"
        return f"the reply is still being played, {self._bytes_sent} bytes so far"

    def note_sent(self, size: int) -> None:
        """The kernel took `size` more bytes."""
        with self._changed:
            self._bytes_sent += size
            self._changed.notify_all()

    def note_left(self, at: float, by: LeftBy) -> None:
        """The client left; ignored after the last step."""
        with self._changed:
            if self._finished_at is None:
                self._closed_at, self._closed_by = at, by
                self._changed.notify_all()

    def note_finished(self) -> None:
        """The last step was played."""
        with self._changed:
            self._finished_at = time.monotonic()
            self._changed.notify_all()
