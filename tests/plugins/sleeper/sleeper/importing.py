"""A module whose import waits for something that does not happen."""

from __future__ import annotations

import threading

threading.Event().wait()
