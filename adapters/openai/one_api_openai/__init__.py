"""OpenAI and providers that speak its format: one class, and a table of rows."""

from __future__ import annotations

from one_api_openai.adapter import OpenAIAdapter
from one_api_openai.providers import PROVIDERS

__all__ = ["PROVIDERS", "OpenAIAdapter"]
