"""Google's Gemini models for one_api: OpenAI requests in, generateContent on the wire."""

from __future__ import annotations

from one_api_gemini.adapter import GeminiAdapter
from one_api_gemini.settings import GeminiSettings

__all__ = ["GeminiAdapter", "GeminiSettings"]

__version__ = "0.1.0"
