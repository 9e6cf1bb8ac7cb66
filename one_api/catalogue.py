"""Public model ids in, deployments out: what adapters, upstreams and aliases offer, as one table.

Pure: built anew whenever a list of models or the operator's file changes, and only read since.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from one_api.deployment import Deployment, Timeouts
from one_api.schemas.models import ModelInfo
from one_api.upstreams import ALL_MODELS, UpstreamEntry

#: Longer ids are no model's: nothing but `member/model` takes them. Clients choose ids.
MAX_ID_CHARS = 256
#: How many aliases may lead to one another.
MAX_ALIAS_DEPTH = 8
_MAX_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model under the id by which clients ask for it."""

    id: str
    adapter: str
    info: ModelInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one adapter instance offers; with `upstream`, as this entry of the file says.

    `listed` is the provider's list, None as long as there was none. `owner` is who is told to own
    models that the provider was not asked about.
    """

    name: str
    listed: tuple[ModelInfo, ...] | None = None
    upstream: UpstreamEntry | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name with `*` in it, which stands for any characters or none."""

    text: str
    expression: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Neighbouring stars mean one, and cost a search each.
        literals = [re.escape(part) for part in re.split(r"\*+", self.text)]
        object.__setattr__(self, "expression", re.compile(".*".join(literals), re.DOTALL))

    def matches(self, model_id: str) -> bool:
        """Whether `model_id` is one of those meant."""
        return self.expression.fullmatch(model_id) is not None

    @property
    def prefix_chars(self) -> int:
        """How long it is before its first `*`."""
        return self.text.index("*")


class Pool:
    """One upstream of the file: which public names it answers for, and with what deployment."""

    def __init__(self, offer: Offer, upstream: UpstreamEntry) -> None:
        self.entry = upstream
        self._infos = {info.id: info for info in offer.listed or ()}
        self._is_guess = upstream.models is None and offer.listed is None
        given = upstream.models or ()
        self._patterns = tuple(Pattern(name) for name in given if is_pattern(name))
        names = [name for name in given if not is_pattern(name)]
        names += upstream.model_map
        if upstream.models is None:
            names += self._infos
        self.names = {name: self._info(name, offer.owner) for name in names}

    def answer(self, model: str) -> Deployment | None:
        """The deployment for `model`, None where the upstream does not offer it."""
        if model in self.names or any(pattern.matches(model) for pattern in self._patterns):
            return self.deployment(model, model)
        return self.deployment(model, model, is_guess=True) if self._is_guess else None

    def deployment(self, model: str, public: str, *, is_guess: bool = False) -> Deployment:
        """The deployment for what clients ask for as `model` and the entry calls `public`."""
        entry = self.entry
        upstream_model = entry.model_map.get(public, public)
        info = self._infos.get(upstream_model)
        return Deployment(
            model=model,
            adapter=entry.name,
            upstream_model=upstream_model,
            timeouts=entry.timeouts,
            group=entry.group,
            weight=entry.weight,
            order=entry.order,
            limits=entry.limits,
            breaker=entry.breaker,
            on_hang_up=entry.on_hang_up,
            is_probed=entry.is_probed,
            price=entry.prices.get(public) or entry.prices.get(ALL_MODELS),
            context_window=_window(entry, public) or (info.context_window if info else None),
            is_guess=is_guess,
        )

    def _info(self, public: str, owner: str) -> ModelInfo:
        listed = self._infos.get(self.entry.model_map.get(public, public))
        info = listed or ModelInfo(id=public, owned_by=owner)
        window = _window(self.entry, public) or info.context_window
        if info.id == public and info.context_window == window:
            return info
        return replace(info, id=public, context_window=window)


class Catalogue:
    """All that is offered.

    An id is looked for as `member/model` first; then as the name of an alias; then as a name that
    an upstream of the file offers, by all that do, in the order of the file; then as one of an
    adapter of the environment, where the first wins. What nobody offers by its name may be meant
    by an alias' pattern, the longest beginning first, or by an upstream's; or by an upstream that
    names no models and whose list did not come, which is a guess. Such an upstream also keeps its
    place beside those that are known to offer an id.
    """

    def __init__(
        self,
        adapters: Sequence[Offer] = (),
        upstreams: Sequence[Offer] = (),
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._pools = {
            offer.name: Pool(offer, offer.upstream) for offer in upstreams if offer.upstream
        }
        self._names = {offer.name for offer in adapters} | self._pools.keys()
        self._aliases = {name: to for name, to in (aliases or {}).items() if not is_pattern(name)}
        self._alias_patterns = sorted(
            ((Pattern(name), to) for name, to in (aliases or {}).items() if is_pattern(name)),
            key=lambda alias: -alias[0].prefix_chars,
        )
        self._offered = {name for pool in self._pools.values() for name in pool.names}
        #: Full ids of models whose plain ids others answer for: plain id and who does.
        self.collisions: dict[str, tuple[str, str]] = {}
        #: Models of the environment's adapters by plain id.
        self._of_adapters: dict[str, RegisteredModel] = {}
        self._listing = self._list_pools()
        for offer in adapters:
            self._list_adapter(offer)
        #: What was found before, so that no request pays for it again.
        self.remembered: dict[str, tuple[Deployment, ...]] = {}
        self._list_aliases()

    @property
    def models(self) -> list[RegisteredModel]:
        """Every model that has a name, once."""
        return list(self._listing.values())

    def model(self, model_id: str) -> RegisteredModel | None:
        """The model listed under this id."""
        return self._listing.get(model_id)

    def names_of(self, upstream: str) -> tuple[str, ...]:
        """The public names that an upstream offers, its patterns included."""
        pool = self._pools[upstream]
        patterns = [name for name in pool.entry.models or () if is_pattern(name)]
        return (*pool.names, *patterns)

    def find(self, model_id: str) -> tuple[Deployment, ...]:
        """The deployments of `model_id` in the order of the file; empty when nobody knows it."""
        return self._resolve(model_id, ())

    def remember(self, model_id: str) -> tuple[Deployment, ...]:
        """What `find` finds, for `remembered`."""
        found = self._resolve(model_id, ())
        if found and len(model_id) <= MAX_ID_CHARS:
            if len(self.remembered) >= _MAX_REMEMBERED:
                self.remembered.clear()
            self.remembered[model_id] = found
        return found

    def is_known(self, model_id: str, aliases: tuple[str, ...] = ()) -> bool:
        """Whether `model_id` means what it does whatever lists are still to come."""
        if self._qualified(model_id) is not None:
            return True
        targets = self._targets(model_id, aliases)
        if targets is not None:
            return all(self.is_known(target, (*aliases, model_id)) for target in targets)
        return model_id in self._offered or model_id in self._of_adapters

    def _resolve(self, model_id: str, aliases: tuple[str, ...]) -> tuple[Deployment, ...]:
        """The deployments of `model_id`, to which `aliases` led."""
        qualified = self._qualified(model_id)
        if qualified is not None:
            return (qualified,)
        targets = self._targets(model_id, aliases)
        if targets is not None:
            found = self._expand(model_id, targets, aliases)
            if found:
                return found
        if model_id in self._offered:
            return self._pooled(model_id)
        known = self._of_adapters.get(model_id)
        if known is not None:
            return (self._plain(model_id, known.adapter, known.info),)
        if not 0 < len(model_id) <= MAX_ID_CHARS:
            return ()
        return self._guess(model_id, aliases)

    def _guess(self, model_id: str, aliases: tuple[str, ...]) -> tuple[Deployment, ...]:
        """The deployments of an id that nobody offers by its name."""
        if len(aliases) < MAX_ALIAS_DEPTH:
            for pattern, targets in self._alias_patterns:
                if pattern.text not in aliases and pattern.matches(model_id):
                    found = self._expand(pattern.text, targets, aliases)
                    if found:
                        return found
        return self._pooled(model_id)

    def _targets(self, model_id: str, aliases: tuple[str, ...]) -> tuple[str, ...] | None:
        # An alias among its own targets is the model of that name.
        if model_id in aliases or len(aliases) >= MAX_ALIAS_DEPTH:
            return None
        return self._aliases.get(model_id)

    def _expand(
        self, alias: str, targets: tuple[str, ...], aliases: tuple[str, ...]
    ) -> tuple[Deployment, ...]:
        followed = (*aliases, alias)
        by_name: dict[str, Deployment] = {}
        for target in targets:
            for one in self._resolve(target, followed):
                by_name.setdefault(one.name, one)
        return tuple(by_name.values())

    def _qualified(self, model_id: str) -> Deployment | None:
        name, _, model = model_id.partition("/")
        if not model or name not in self._names:
            return None
        # Not looked up in the list: providers serve models that they do not list. And first: what
        # an id means must not depend on which lists have come.
        pool = self._pools.get(name)
        if pool is not None:
            return pool.deployment(model_id, model)
        return Deployment(
            model=model_id, adapter=name, upstream_model=model, timeouts=self._timeouts
        )

    def _pooled(self, model_id: str) -> tuple[Deployment, ...]:
        asked = (pool.answer(model_id) for pool in self._pools.values())
        return tuple(deployment for deployment in asked if deployment is not None)

    def _plain(self, model_id: str, adapter: str, info: ModelInfo) -> Deployment:
        return Deployment(
            model=model_id,
            adapter=adapter,
            upstream_model=info.id,
            timeouts=self._timeouts,
            context_window=info.context_window,
        )

    def _list_pools(self) -> dict[str, RegisteredModel]:
        listing: dict[str, RegisteredModel] = {}
        for name, pool in self._pools.items():
            for public, info in pool.names.items():
                shown = f"{name}/{public}" if self._is_taken(public) else public
                listing.setdefault(shown, RegisteredModel(shown, name, info))
        return listing

    def _list_adapter(self, offer: Offer) -> None:
        """Enter an adapter's models: the first wins a plain id, the others keep theirs."""
        for info in offer.listed or ():
            full_id = f"{offer.name}/{info.id}"
            full = RegisteredModel(full_id, offer.name, info)
            if self._is_taken(info.id):
                self._listing.setdefault(full_id, full)
                continue
            plain = RegisteredModel(info.id, offer.name, info)
            self._of_adapters.setdefault(info.id, plain)
            winner = self._listing.setdefault(info.id, plain)
            if winner.adapter != offer.name:  # Some providers list a model twice.
                self._listing.setdefault(full_id, full)
                self.collisions[full_id] = (info.id, winner.adapter)

    def _list_aliases(self) -> None:
        for alias in self._aliases:
            found = self._resolve(alias, ())
            if found and alias not in self._listing and not self._is_taken(alias):
                info = self._info_of(found[0])
                model = RegisteredModel(alias, found[0].adapter, replace(info, id=alias))
                self._listing[alias] = model

    def _info_of(self, deployment: Deployment) -> ModelInfo:
        listed = self._listing.get(deployment.model) or self._listing.get(deployment.name)
        return listed.info if listed else ModelInfo(id="", owned_by=deployment.adapter)

    def _is_taken(self, model_id: str) -> bool:
        """Whether the plain id would mean a model of the member it begins with."""
        first, slash, _ = model_id.partition("/")
        return bool(slash) and first in self._names


def is_pattern(name: str) -> bool:
    """Whether `name` stands for many."""
    return "*" in name


def _window(entry: UpstreamEntry, public: str) -> int | None:
    return entry.context_windows.get(public) or entry.context_windows.get(ALL_MODELS)
