"""What each row's provider gets, and what its answers mean."""

from __future__ import annotations

