"""Files of upstreams in a test's directory."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import SecretStr

from one_api.deployment import Timeouts
from one_api.errors import ConfigurationError
from one_api.upstreams import Upstreams
from one_api.upstreams_file import read_upstreams

#: Unlike the defaults of `Timeouts`, so that it shows which ones were taken.
DEFAULTS = Timeouts(
    connect_s=4.0,
    first_content_s=100.0,
    idle_s=50.0,
    total_s=500.0,
    failover_first_content_s=6.0,
    failover_total_s=70.0,
)
ENVIRONMENT = {
    "KEY": "key-from-environment",
    "PASTED": " pasted-key\n",
    "SECONDS": "2.5",
    "COUNT": "60",
    "USD": "0.125",
    "YES": "True",
    "EMPTY": "",
    "ODD": "a'${KEY}: [#",
    "LINES": "two\nlines",
}


def read(
    text: str | bytes, directory: Path, environment: dict[str, str] = ENVIRONMENT
) -> Upstreams:
    """What a file of `text` says, less its indentation."""
    path = directory / "upstreams.yaml"
    path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
    path.chmod(0o600)
    return read_upstreams(path, environment, timeouts=DEFAULTS)


def error_of(text: str | bytes, directory: Path) -> str:
    """What is told of a file of `text`, with the file's name alone."""
    with pytest.raises(ConfigurationError) as caught:
        read(text, directory)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value).replace(f"{directory}/", "")


def shown(secrets: tuple[SecretStr, ...]) -> list[str]:
    return [secret.get_secret_value() for secret in secrets]
