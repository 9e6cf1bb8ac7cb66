"""What an operator is told of the upstreams: how each stands, what a reload changed; no secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from urllib.parse import urlsplit

from pydantic import SecretStr

from one_api.adapter.base import BaseModelAdapter
from one_api.adapter.openai_compatible import OpenAICompatibleAdapter
from one_api.adapter.settings import UpstreamSettings
from one_api.upstreams import UpstreamEntry, Upstreams

#: Shorter credentials show nothing of themselves.
_MIN_SHOWN_CHARS = 12
#: How the file calls what the values call otherwise.
_FILE_NAMES = {
    "api_key": "sk",
    "base_url": "endpoint",
    "provider": "adapter",
    "prices": "price",
    "context_windows": "context_window",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """One upstream as it is shown.

    `adapter` is the installed adapter that serves it, `provider` what it takes the other side for.
    `models` are the public names on offer, patterns included. `list_error` tells why it offers
    nothing, or only what it offered before.
    """

    name: str
    adapter: str
    provider: str
    endpoint: str
    credential: str
    group: str
    order: int
    weight: float
    models: tuple[str, ...] = ()
    list_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamsDiff:
    """What differs between two versions of a file of upstreams: names, never values.

    `changed` leads from the names of upstreams to their fields.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    is_reordered: bool = False
    is_authorization_changed: bool = False

    def lines(self) -> list[str]:
        """The differences, one a line, for the log."""
        told = [f"upstream {name}: added" for name in self.added]
        told += [f"upstream {name}: removed" for name in self.removed]
        told += [f"upstream {name}: changed {', '.join(of)}" for name, of in self.changed.items()]
        if self.is_reordered:
            told.append("groups or upstreams: another order")
        if self.groups:
            told.append(f"groups: changed {', '.join(self.groups)}")
        if self.aliases:
            told.append(f"aliases: changed {', '.join(self.aliases)}")
        if self.is_authorization_changed:
            told.append("authorization: changed")
        return told or ["nothing changed"]


def compare(old: Upstreams, new: Upstreams) -> UpstreamsDiff:
    """What `new` says otherwise than `old`."""
    before = {entry.name: entry for entry in old.entries}
    after = {entry.name: entry for entry in new.entries}
    common = [name for name in after if name in before]
    changed = {name: tuple(_changed_fields(before[name], after[name])) for name in common}
    return UpstreamsDiff(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed={name: names for name, names in changed.items() if names},
        groups=_changed_keys({g.name: g for g in old.groups}, {g.name: g for g in new.groups}),
        aliases=_changed_keys(old.aliases, new.aliases),
        is_reordered=common != [name for name in before if name in after]
        or [g.name for g in old.groups] != [g.name for g in new.groups],
        is_authorization_changed=old.authorization != new.authorization,
    )


def is_same_adapter(old: UpstreamEntry, new: UpstreamEntry) -> bool:
    """Whether the instance that serves `old` serves `new` as well, with the list it has."""
    return (
        old.adapter == new.adapter
        and old.settings == new.settings
        and (old.models is None) == (new.models is None)
    )


def status_of(
    entry: UpstreamEntry,
    adapter: BaseModelAdapter | None,
    *,
    adapter_name: str,
    models: tuple[str, ...],
    list_error: str | None,
) -> UpstreamStatus:
    """How `entry` stands, served by `adapter`; None where that did not start."""
    row = adapter.provider if isinstance(adapter, OpenAICompatibleAdapter) else None
    default = getattr(adapter.settings, "base_url", "") if adapter else ""
    return UpstreamStatus(
        name=entry.name,
        adapter=adapter_name,
        provider=row.name if row else adapter_name,
        endpoint=shown_endpoint(entry.settings.base_url or str(default)),
        credential=masked(entry.settings.api_key),
        group=entry.group.name,
        order=entry.order,
        weight=entry.weight,
        models=models,
        list_error=list_error,
    )


def masked(credential: SecretStr | None) -> str:
    """Enough of a credential to tell it from others: `sk-…cdef`; empty where there is none."""
    if credential is None:
        return ""
    value = credential.get_secret_value()
    if len(value) < _MIN_SHOWN_CHARS:
        return "…"
    return f"{'sk-' if value.startswith('sk-') else ''}…{value[-4:]}"


def shown_endpoint(url: str) -> str:
    """A URL without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if url else ""


def _changed_fields(old: UpstreamEntry, new: UpstreamEntry) -> Iterator[str]:
    for settings_field in fields(UpstreamSettings):
        name = settings_field.name
        if getattr(old.settings, name) != getattr(new.settings, name):
            yield _FILE_NAMES.get(name, name)
    if old.adapter != new.adapter and old.settings.provider == new.settings.provider:
        yield "adapter"
    for entry_field in fields(UpstreamEntry):
        name = entry_field.name
        if name in ("adapter", "settings", "line"):
            continue
        if getattr(old, name) != getattr(new, name):
            yield _FILE_NAMES.get(name, name)


def _changed_keys(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    every = dict.fromkeys([*old, *new])
    return tuple(name for name in every if old.get(name) != new.get(name))
