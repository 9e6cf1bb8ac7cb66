"""`one_api.adapter` promises what it binds, and binds what it promises."""

from __future__ import annotations

from types import ModuleType

from one_api import adapter, errors, events


def public_names(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name != "annotations"  # from __future__
    }


def test_all_is_what_the_module_binds() -> None:
    assert public_names(adapter) == set(adapter.__all__)


def test_all_names_nothing_twice() -> None:
    assert len(adapter.__all__) == len(set(adapter.__all__))


def test_every_event_is_promised() -> None:
    promised = {cls.__name__ for cls in events.Event.__args__}
    assert promised <= set(adapter.__all__)


def test_every_upstream_error_is_promised() -> None:
    """An adapter may tell of every way in which its provider fails."""
    failures = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.UpstreamError)
    }
    assert failures <= set(adapter.__all__)
