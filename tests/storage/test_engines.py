"""The engines are SQLAlchemy's own, and the ORM stays away."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_storage_takes_no_orm_along_and_its_engines_are_the_packages() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, one_api.storage\n"
            "heavy = 'sqlalchemy.orm', 'sqlalchemy.dialects.postgresql', 'alembic'\n"
            "print([name for name in heavy if name in sys.modules])\n"
            "from one_api.storage import engines\n"
            "import sqlalchemy.ext.asyncio as package\n"
            "names = engines.__all__\n"
            "print(all(getattr(package, one) is getattr(engines, one) for one in names))",
        ],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert "[]\nTrue\n" == told
