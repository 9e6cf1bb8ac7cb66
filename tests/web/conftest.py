"""The gateway as a Flask application over adapters made in the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from one_api.app import create_app
from one_api.registry import ModelRegistry
from one_api.runtime import GatewayFlask
from one_api.settings import Settings
from tests.adapters_in_test import ScriptedAdapter, registry_of

KEY = "sk-good-enough"
AUTH = {"Authorization": f"Bearer {KEY}"}

MakeApp = Callable[..., GatewayFlask]


@pytest.fixture
def make_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MakeApp]:
    """Make an application with these settings, and close it in the end.

    Without a registry there is one adapter, `a`, with one model, `m`.
    """
    monkeypatch.chdir(tmp_path)  # no .env file
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    made: list[GatewayFlask] = []

    def make(registry: ModelRegistry | None = None, **settings: Any) -> GatewayFlask:
        app = create_app(
            Settings(
                **{
                    "api_keys": KEY,
                    "passthrough_enabled": False,
                    "database_url": "none",
                    **settings,
                }
            ),
            registry=registry_of(a=ScriptedAdapter()) if registry is None else registry,
        )
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    """A client that has a key."""
    return keyed(make_app())


def keyed(app: GatewayFlask) -> FlaskClient:
    """A client of `app` that sends its key with everything."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = AUTH["Authorization"]
    return client
