"""Which deployment keeps what a client will name again: state that lives in one account."""

from __future__ import annotations

import re
from collections import OrderedDict

from one_api.deployment import Deployment

#: Most ids that are remembered; the ones not asked for longest are forgotten first.
MAX_BINDINGS = 10_000
#: How much of a reply is looked at: its own id stands at its beginning.
SNIFFED_BYTES = 4_096

_ID = re.compile(rb'"id"\s*:\s*"((?:resp|conv)_[A-Za-z0-9_\-]{1,128})"')
_ID_IN_PATH = re.compile(
    r"/(?:responses|conversations)/((?:resp|conv)_[A-Za-z0-9_\-]{1,128})(?:/|$)"
)


class Bindings:
    """Ids of stored responses and conversations, and who has them.

    Each process knows what it has seen itself, since it started.
    """

    def __init__(self, limit: int = MAX_BINDINGS) -> None:
        self._limit = limit
        self._by_id: OrderedDict[str, Deployment] = OrderedDict()

    def learn(self, data: bytes, deployment: Deployment) -> bool:
        """Note the id in the beginning of a reply of `deployment`; whether there was one."""
        found = _ID.search(data, 0, SNIFFED_BYTES)
        if found is None:
            return False
        id_ = found[1].decode()
        self._by_id[id_] = deployment
        self._by_id.move_to_end(id_)
        if len(self._by_id) > self._limit:
            self._by_id.popitem(last=False)
        return True

    def recall(self, id_: str | None) -> Deployment | None:
        """Who has what goes by this id, if that is known."""
        if id_ is None or id_ not in self._by_id:
            return None
        self._by_id.move_to_end(id_)
        return self._by_id[id_]


def id_in_path(path: str) -> str | None:
    """The stored object that a request's path names."""
    found = _ID_IN_PATH.match(path)
    return found[1] if found else None
