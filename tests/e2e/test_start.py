"""What a start takes: nothing is imported that nobody needs, or before; no garbage is collected."""

from __future__ import annotations

import gc
import subprocess
from pathlib import Path

import pytest

from one_api.cli.garbage import collector_paused
from tests.e2e.gateways import BIN, clean_environment

#: What only workers need: the web framework, the HTTP client, the database, Prometheus' library.
OF_WORKERS = ("flask", "aiohttp", "sqlalchemy", "alembic", "prometheus_client", "one_api.app")
#: What only some gateways need: those that are scraped, whose log goes to a terminal, that tell
#: their operators of trouble, that let pages in, or that are started beside an `.env`; and those
#: whose clients speak other formats than that of chats.
OF_SOME = (
    *("prometheus_client", "structlog", "rich"),
    *("one_api.alerting", "one_api.observe.alerts", "flask_cors", "dotenv"),
    *("one_api.schemas.anthropic", "one_api.converter.messages"),
    *("one_api.schemas.responses", "one_api.converter.responses"),
)


def imported_by(program: str, tmp_path: Path) -> set[str]:
    """The modules that are there after `program`."""
    told = subprocess.run(
        [f"{BIN}/python", "-c", f"import sys\n{program}\nprint(*sys.modules)"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, {}),
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return set(told.split())


@pytest.mark.slow
def test_the_supervisor_checks_what_is_served_without_what_only_workers_need(
    tmp_path: Path,
) -> None:
    modules = imported_by(
        "from one_api.cli.serving import serve\n"
        "from one_api.cli.registries import registry_to_serve\n"
        "from one_api.settings import Settings\n"
        "registry_to_serve(Settings.load())",
        tmp_path,
    )
    assert {"one_api_echo", "one_api.server"} <= modules
    assert set() == modules.intersection({*OF_WORKERS, *OF_SOME})


@pytest.mark.slow
def test_a_worker_has_no_library_before_it_is_needed(tmp_path: Path) -> None:
    modules = imported_by("from one_api.app import create_app\ncreate_app()", tmp_path)
    assert "flask" in modules
    assert set() == modules.intersection(OF_SOME)


def test_no_command_is_imported_before_it_is_run(tmp_path: Path) -> None:
    modules = imported_by("import one_api.cli", tmp_path)
    assert set() == modules.intersection({"pydantic", *OF_WORKERS})


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_afterwards_as_it_was(is_enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        gc.enable() if is_enabled else gc.disable()
        with collector_paused():
            assert not gc.isenabled()
        assert is_enabled == gc.isenabled()
    finally:
        gc.enable() if was_enabled else gc.disable()
        gc.unfreeze()


def test_what_a_start_makes_is_not_looked_through_afterwards() -> None:
    made = []
    try:
        with collector_paused():
            made += [[number] for number in range(1_000)]
        assert not {id(one) for one in made} & {id(one) for one in gc.get_objects()}
    finally:
        gc.unfreeze()
