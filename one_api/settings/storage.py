"""Settings of what outlives a request: the database, the log, shared counters and the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from one_api.settings.sources import Section
from one_api.settings.values import NO_DATABASE, DatabaseUrl, RedisUrl

_DATA_DIRECTORY = Path("one_api_data")


class StorageSection(Section):
    """What is kept, where, and for how long."""

    database_url: Annotated[
        DatabaseUrl,
        Field(
            description="Database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; "
            "none: store nothing."
        ),
    ] = SecretStr("sqlite:///one_api.db")
    data_dir: Annotated[
        Path | None,
        Field(description="Directory of the ledger's journal. Unset: that of the SQLite file."),
    ] = None
    prices_file: Annotated[
        Path | None, Field(description="File of prices (YAML) that win over the built-in ones.")
    ] = None
    request_log: Annotated[
        Literal["metadata", "full", "off"],
        Field(description="What to log of each request; full: also what was said."),
    ] = "metadata"
    request_log_max_days: Annotated[
        float, Field(description="Days after which logged requests are deleted.", gt=0)
    ] = 30
    request_log_max_rows: Annotated[
        int, Field(description="Logged requests to keep at most.", ge=1)
    ] = 1_000_000
    request_log_body_kb: Annotated[
        float, Field(description="Of each body, what is logged at most, in kB.", gt=0, le=10_000)
    ] = 64

    @property
    def storage_url(self) -> str | None:
        """The database's URL, with its password; None when nothing is stored."""
        url = self.database_url.get_secret_value()
        return None if url == NO_DATABASE else url

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None for others."""
        scheme, _, path = self.database_url.get_secret_value().partition(":///")
        return Path(path) if scheme in ("sqlite", "sqlite+aiosqlite") else None

    @property
    def data_directory(self) -> Path:
        """Where the ledger's journal is."""
        if self.data_dir is not None:
            return self.data_dir
        return _DATA_DIRECTORY if self.sqlite_file is None else self.sqlite_file.parent

    @property
    def request_log_body_bytes(self) -> int:
        """What is logged of each body at most, in bytes."""
        return int(self.request_log_body_kb * 1_000)


class SharedSection(Section):
    """What processes and hosts share, and what they remember of replies."""

    redis_url: Annotated[
        RedisUrl | None,
        Field(description="Redis that shares limits and replies between processes."),
    ] = None
    redis_failure: Annotated[
        Literal["fail_open", "fail_closed"],
        Field(description="Without Redis: let each process count alone, or refuse requests."),
    ] = "fail_open"
    cache: Annotated[
        Literal["off", "memory", "redis"],
        Field(description="Where to keep replies for requests that repeat exactly."),
    ] = "off"
    cache_ttl_s: Annotated[float, Field(description="Seconds to keep a reply.", gt=0)] = 3600
    cache_max_mb: Annotated[
        float, Field(description="Replies kept in memory at most, in MB (10^6 bytes).", gt=0)
    ] = 64
    cache_share_in_flight: Annotated[
        bool, Field(description="Let identical requests at one time share one reply.")
    ] = False
    idempotency_ttl_s: Annotated[
        float, Field(description="Seconds in which an Idempotency-Key gets the same reply.", gt=0)
    ] = 86_400

    @property
    def cache_max_bytes(self) -> int:
        """The replies kept in memory at most, in bytes."""
        return int(self.cache_max_mb * 1_000_000)
