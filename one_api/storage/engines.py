"""SQLAlchemy's asynchronous engines without its ORM, which nothing here uses.

The package `sqlalchemy.ext.asyncio` takes the ORM along on import: 0.1 s of every start, and 6 MB
of every process.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]

_PACKAGE = "sqlalchemy.ext.asyncio"


def _engines() -> ModuleType:
    """The one module of the package that is needed, the package itself unrun.

    Whoever imports the package later gets it as it is, with this very module in it.
    """
    if _PACKAGE in sys.modules:
        return import_module(f"{_PACKAGE}.engine")
    spec = find_spec(_PACKAGE)
    assert spec is not None, "it is a dependency"  # noqa: S101
    sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        return import_module(f"{_PACKAGE}.engine")
    finally:
        del sys.modules[_PACKAGE]


if not TYPE_CHECKING:
    _module = _engines()
    AsyncConnection = _module.AsyncConnection
    AsyncEngine = _module.AsyncEngine
    create_async_engine = _module.create_async_engine
