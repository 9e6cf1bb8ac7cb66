"""Entry points in, adapter instances out; whatever a plugin does wrong becomes a state.

First the catalogue: names and distributions, nothing imported. Then each entry is imported and
built on its own, under a deadline. A plugin can fail in any way it likes without harm to others.
What the operator's file of upstreams asks for is another matter: there a failure is an error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from one_api.adapter.base import API_VERSION, AdapterContext, BaseModelAdapter
from one_api.adapter.settings import UpstreamSettings
from one_api.errors import ConfigurationError

GROUP = "one_api.adapters"

AdapterState = Literal["available", "loaded", "disabled", "failed", "incompatible", "shadowed"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class AdapterEntry:
    """One entry point and how far it came.

    `available`: installed, not switched on (`reason` tells how) · `loaded`: serving ·
    `disabled`: not on the allow-list · `failed`, `incompatible`, `shadowed`: see `reason`.
    `is_required` says that the operator asked for this adapter, so that readiness depends on it.
    `adapter_class` is there as soon as the import is sound, also where the environment configures
    nothing: upstreams can ask for it by the entry's name, and by each of `providers`.
    """

    name: str
    distribution: str
    version: str
    state: AdapterState = "available"
    reason: str = ""
    import_s: float = 0.0
    is_required: bool = False
    configuration_error: ConfigurationError | None = None
    adapters: dict[str, BaseModelAdapter] = field(default_factory=dict)
    entry_point: EntryPoint | None = None
    adapter_class: type[BaseModelAdapter] | None = None
    providers: tuple[str, ...] = ()

    def fail(self, reason: str, state: AdapterState = "failed") -> None:
        """Note why this entry does not serve."""
        self.state, self.reason = state, reason
        self.adapters = {}
        logger.warning("adapter %s: %s: %s", self.name, state, reason)


def installed_entry_points() -> Sequence[EntryPoint]:
    """Every adapter that an installed distribution declares, always in the same order."""
    found = entry_points(group=GROUP)
    counts = Counter(point.name for point in found)

    def order(point: EntryPoint) -> tuple[str, str]:
        # Else the order of a directory's files would decide between two of one name.
        return point.name, _distribution(point)[0] if counts[point.name] > 1 else ""

    return sorted(found, key=order)


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version of what declares `point`; every look at its metadata parses them anew."""
    if point.dist is None:
        return "unknown", "unknown"
    metadata = point.dist.metadata
    return metadata["Name"], metadata["Version"]


def catalogue(found: Iterable[EntryPoint], allowed: Sequence[str] | None) -> list[AdapterEntry]:
    """The entries among `found`, in the order that decides who wins a model id.

    That is the order of the allow-list, and by name where there is none. `None` allows all.
    """
    entries: dict[str, AdapterEntry] = {}
    shadowed = []
    for point in found:
        distribution, version = _distribution(point)
        entry = AdapterEntry(
            name=point.name, distribution=distribution, version=version, entry_point=point
        )
        first = entries.setdefault(point.name, entry)
        if first is not entry:
            entry.fail(f"{first.distribution} declares an adapter of the same name", "shadowed")
            shadowed.append(entry)
    if allowed is None:
        return [entries[name] for name in sorted(entries)] + shadowed
    chosen = []
    for name in dict.fromkeys(allowed):
        entry = entries.pop(name) if name in entries else _missing(name)
        entry.is_required = True
        chosen.append(entry)
    for entry in entries.values():
        entry.state, entry.reason = "disabled", "not named in ONE_API_ADAPTERS"
    return chosen + [entries[name] for name in sorted(entries)] + shadowed


def _missing(name: str) -> AdapterEntry:
    entry = AdapterEntry(name=name, distribution="-", version="-")
    entry.fail("no installed package declares an adapter of this name")
    return entry


def load(
    entry: AdapterEntry,
    environment: Mapping[str, str],
    context: Callable[[str], AdapterContext],
    timeout_s: float,
) -> None:
    """Import `entry` and make its adapter instances; the outcome is its state, never a raise."""
    if entry.state != "available" or entry.entry_point is None:
        return
    started = time.perf_counter()
    outcome = _run_in_thread(entry.entry_point.load, timeout_s)
    entry.import_s = time.perf_counter() - started
    if outcome is None:
        entry.fail(f"its import did not end within {timeout_s:g} s")
    elif isinstance(outcome, _Raised):
        entry.fail(f"its import raised {_describe(outcome.exception)}")
    else:
        _build(entry, outcome.value, environment, context, timeout_s)


def _build(
    entry: AdapterEntry,
    adapter_class: object,
    environment: Mapping[str, str],
    context: Callable[[str], AdapterContext],
    timeout_s: float,
) -> None:
    version = getattr(adapter_class, "api_version", API_VERSION)
    if version != API_VERSION:
        entry.fail(
            f"written for adapter contract {version}, this gateway has {API_VERSION}",
            "incompatible",
        )
        return
    if not (isinstance(adapter_class, type) and issubclass(adapter_class, BaseModelAdapter)):
        entry.fail("its entry point is not a subclass of BaseModelAdapter", "incompatible")
        return
    entry.adapter_class = adapter_class
    entry.providers = _providers(entry, adapter_class, timeout_s)
    name = entry.name
    outcome = _run_in_thread(
        lambda: dict(adapter_class.build(name, environment, context(name))), timeout_s
    )
    if outcome is None:
        entry.fail(f"its construction did not end within {timeout_s:g} s")
        return
    if isinstance(outcome, _Raised):
        if isinstance(outcome.exception, ConfigurationError):
            entry.configuration_error = outcome.exception
            entry.is_required = True
            entry.fail(str(outcome.exception))
        else:
            entry.fail(f"its construction raised {_describe(outcome.exception)}")
        return
    adapters = outcome.value
    if not all(
        isinstance(key, str) and key and isinstance(adapter, BaseModelAdapter)
        for key, adapter in adapters.items()
    ):
        entry.fail("its build() did not return adapters by name", "incompatible")
        return
    if not adapters:
        told = _run_in_thread(adapter_class.how_to_configure, timeout_s)
        entry.reason = str(told.value) if isinstance(told, _Returned) else "not configured"
        return
    entry.state, entry.adapters, entry.is_required = "loaded", adapters, True


def _providers(
    entry: AdapterEntry, adapter_class: type[BaseModelAdapter], timeout_s: float
) -> tuple[str, ...]:
    told = _run_in_thread(lambda: tuple(adapter_class.providers()), timeout_s)
    if isinstance(told, _Returned) and all(isinstance(name, str) for name in told.value):
        return tuple(told.value)
    logger.warning("adapter %s: its providers() did not return names", entry.name)
    return ()


def entry_for(entries: Iterable[AdapterEntry], asked: str | None) -> AdapterEntry:
    """The entry whose class speaks for an upstream that asks for the adapter `asked`.

    That is the entry of this name, else the first with a provider of this name; for None the
    first whose class says that it is the default.
    Raises: ConfigurationError with the variable `adapter`.
    """
    entries = list(entries)
    usable = [entry for entry in entries if entry.adapter_class is not None]
    for entry in usable:
        if asked == entry.name or (
            asked is None and getattr(entry.adapter_class, "is_default_upstream", False) is True
        ):
            return entry
    for entry in usable:
        if asked in entry.providers:
            return entry
    for entry in entries:
        if asked == entry.name:
            raise ConfigurationError("adapter", f"'{asked}' is {entry.state}: {entry.reason}")
    known = sorted({name for entry in usable for name in (entry.name, *entry.providers)})
    disabled = ", ".join(entry.name for entry in entries if entry.state == "disabled")
    problem = (
        "no installed adapter is the default for upstreams, and the entry names none"
        if asked is None
        else f"no installed adapter is called '{asked}'"
    )
    raise ConfigurationError(
        "adapter",
        problem + (f" (disabled by ONE_API_ADAPTERS: {disabled})" if disabled else ""),
        f"one of: {', '.join(known)}" if known else "an installed adapter",
    )


def build_upstream(
    entry: AdapterEntry,
    name: str,
    upstream: UpstreamSettings,
    context: AdapterContext,
    timeout_s: float,
) -> BaseModelAdapter:
    """The instance of the class of `entry` for an upstream called `name`.

    Raises: ConfigurationError whose variable is the upstream's field, whatever the plugin raises.
    """
    adapter_class = entry.adapter_class
    assert adapter_class is not None, "entry_for() gives only such entries"  # noqa: S101
    outcome = _run_in_thread(
        lambda: adapter_class.build_upstream(name, upstream, context), timeout_s
    )
    if outcome is None:
        raise ConfigurationError(
            "adapter", f"the construction of '{entry.name}' did not end within {timeout_s:g} s"
        )
    if isinstance(outcome, _Raised):
        if isinstance(outcome.exception, ConfigurationError):
            raise outcome.exception
        # Not what it says: that may quote the credential.
        raise ConfigurationError(
            "adapter",
            f"the construction of '{entry.name}' raised {type(outcome.exception).__name__}",
        )
    if not isinstance(outcome.value, BaseModelAdapter):
        raise ConfigurationError(
            "adapter", f"build_upstream() of '{entry.name}' did not return an adapter"
        )
    return outcome.value


@dataclass(frozen=True, slots=True)
class _Returned:
    value: Any


@dataclass(frozen=True, slots=True)
class _Raised:
    exception: BaseException


def _run_in_thread(function: Callable[[], Any], timeout_s: float) -> _Returned | _Raised | None:
    """The outcome of `function`, or None when it did not end in time.

    A thread that does not end is left behind: Python cannot stop it, and it harms only itself.
    """
    outcomes: list[_Returned | _Raised] = []

    def run() -> None:
        try:
            outcomes.append(_Returned(function()))
        except BaseException as exc:  # noqa: BLE001 - a plugin may even call sys.exit() on import
            outcomes.append(_Raised(exc))

    thread = threading.Thread(target=run, name="one-api-load-adapter", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return outcomes[0] if outcomes else None


def _describe(exc: BaseException) -> str:
    text = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {text[0]}" if text else type(exc).__name__
