"""Anthropic's Claude models for one_api: OpenAI requests in, Anthropic Messages on the wire."""

from __future__ import annotations

from one_api_claude.adapter import ClaudeAdapter
from one_api_claude.settings import ClaudeSettings

__all__ = ["ClaudeAdapter", "ClaudeSettings"]

__version__ = "0.1.0"
