"""An adapter whose module computes for longer than an import may take."""

from __future__ import annotations

import time

from tests.adapter.testing.plain_adapter import PlainAdapter

BEGIN_S = time.process_time()
ROUNDS = 0
while time.process_time() - BEGIN_S < 0.35:
    ROUNDS += 1


class SlowImport(PlainAdapter):
    pass
