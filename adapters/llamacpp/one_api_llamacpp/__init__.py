"""Local GGUF models for one_api; llama.cpp itself is imported when the first one is loaded."""

from __future__ import annotations

from one_api_llamacpp.adapter import LlamaCppAdapter

__version__ = "0.1.0"

__all__ = ["LlamaCppAdapter", "__version__"]
