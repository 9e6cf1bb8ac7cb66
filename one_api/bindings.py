"""Which deployment keeps what a client will name again: state that lives in one account."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from typing import NamedTuple

import orjson

from one_api.counters import Counters
from one_api.deployment import Deployment
from one_api.errors import StorageUnavailable

logger = logging.getLogger(__name__)

#: Most ids that are remembered; the ones not asked for longest are forgotten first.
MAX_BINDINGS = 10_000
#: How much of a reply is looked at: its own id stands at its beginning.
SNIFFED_BYTES = 4_096
#: For how long processes tell each other who has what, in seconds: a week.
SHARED_S = 7 * 86_400.0

_ID = re.compile(rb'"id"\s*:\s*"((?:resp|conv)_[A-Za-z0-9_\-]{1,128})"')
_SHARED_ID = re.compile(r"(?:resp|conv)_[A-Za-z0-9_\-]{1,128}")
_ID_IN_PATH = re.compile(
    r"/(?:responses|conversations)/((?:resp|conv)_[A-Za-z0-9_\-]{1,128})(?:/|$)"
)


class Place(NamedTuple):
    """A deployment by the names that every process knows it by."""

    model: str
    adapter: str
    upstream_model: str


class Bindings:
    """Ids of stored responses and conversations, and who has them.

    Each process knows what it has seen itself, since it started, and what others tell in `shared`.
    """

    def __init__(self, limit: int = MAX_BINDINGS, *, shared: Counters | None = None) -> None:
        self._limit = limit
        self._shared = shared
        self._by_id: OrderedDict[str, Deployment] = OrderedDict()

    def learn(self, data: bytes, deployment: Deployment) -> str | None:
        """The id in the beginning of a reply of `deployment`, noted; None where there is none."""
        found = _ID.search(data, 0, SNIFFED_BYTES)
        if found is None:
            return None
        id_ = found[1].decode()
        self._by_id[id_] = deployment
        self._by_id.move_to_end(id_)
        if len(self._by_id) > self._limit:
            self._by_id.popitem(last=False)
        return id_

    async def share(self, id_: str) -> None:
        """Tell the other processes what was learnt of `id_`; as far as they can be told."""
        deployment = self._by_id.get(id_)
        if self._shared is None or deployment is None:
            return
        place = Place(deployment.model, deployment.adapter, deployment.upstream_model)
        try:
            await self._shared.put(_key(id_), orjson.dumps(list(place)), SHARED_S)
        except StorageUnavailable as exc:
            logger.debug("nobody else is told who has %s: %s", id_, exc.message)

    def recall(self, id_: str | None) -> Deployment | None:
        """Who has what goes by this id, if that is known."""
        if id_ is None or id_ not in self._by_id:
            return None
        self._by_id.move_to_end(id_)
        return self._by_id[id_]

    async def ask_others(self, id_: str | None) -> Place | None:
        """Who has what goes by this id, if another process has told."""
        if self._shared is None or id_ is None or _SHARED_ID.fullmatch(id_) is None:
            return None
        try:
            told = await self._shared.get(_key(id_))
        except StorageUnavailable as exc:
            logger.debug("nobody else can be asked who has %s: %s", id_, exc.message)
            return None
        return _place_in(told) if told else None


def _place_in(told: bytes) -> Place | None:
    """What another process has told; None for one of a version that tells it otherwise."""
    try:
        names = orjson.loads(told)
    except orjson.JSONDecodeError:
        return None
    is_place = isinstance(names, list) and len(names) == len(Place._fields)
    return Place(*names) if is_place and all(isinstance(name, str) for name in names) else None


def _key(id_: str) -> str:
    return f"bound:{id_}"


def id_in_path(path: str) -> str | None:
    """The stored object that a request's path names."""
    found = _ID_IN_PATH.match(path)
    return found[1] if found else None
