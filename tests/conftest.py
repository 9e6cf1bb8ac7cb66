"""What holds for every run: how many examples a law is tried on, and what is done only once."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.kept_parts import keep_parts

# The laws are tried on new examples in every run, so that each one needs only some of them.
settings.register_profile("fast", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=150, deadline=None)
settings.load_profile("fast")

# What collecting thousands of tests makes stays until the end: no use in looking through it.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def kept_parts() -> Iterator[None]:
    """Applications share what is the same for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        keep_parts(patch)
        yield
