"""Ollama's native API: streams of newline-delimited JSON, usually without a credential."""

from __future__ import annotations

from one_api_ollama.adapter import OllamaAdapter
from one_api_ollama.settings import OllamaSettings

__all__ = ["OllamaAdapter", "OllamaSettings"]
