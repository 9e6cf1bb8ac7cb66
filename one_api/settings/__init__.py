"""The gateway's settings, and the only reader of the environment.

Precedence: command line > environment > `.env` file > default. Each field says what it means in
its description; `.env.example` documents every one of them, and a test compares the two.
"""

from __future__ import annotations

from one_api.settings.explanation import expected_form, explain
from one_api.settings.gateway import Settings
from one_api.settings.sources import (
    ENV_FILE,
    environment,
    export_otel_variables,
    export_tiktoken_cache_dir,
)

__all__ = [
    "ENV_FILE",
    "Settings",
    "environment",
    "expected_form",
    "explain",
    "export_otel_variables",
    "export_tiktoken_cache_dir",
]
