"""one_api: an OpenAI-compatible LLM gateway that people extend with `pip install`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from one_api._version import __version__

if TYPE_CHECKING:
    from one_api.app import create_app

__all__ = ["__version__", "create_app"]


def __getattr__(name: str) -> Any:
    # Adapters import one_api.adapter, which must not bring the web framework along.
    if name == "create_app":
        from one_api.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
