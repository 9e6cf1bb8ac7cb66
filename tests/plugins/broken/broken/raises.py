"""A module whose import raises."""

from __future__ import annotations

raise RuntimeError("libexample.so.1 was not found\nand more that fits no table")
