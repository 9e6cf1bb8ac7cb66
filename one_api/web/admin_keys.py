"""`/admin/keys`: the keys in the database, which nobody can read there."""

from __future__ import annotations

import time
from typing import Annotated, Any, Self, cast

import flask
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from one_api.errors import InvalidRequest, NotFound
from one_api.schemas import JsonObject
from one_api.schemas.validation import field_path, invalid_request
from one_api.storage.keys import KeyChanges, KeySpec, StoredKey
from one_api.web.admin_values import (
    MAX_TEXT_CHARS,
    Query,
    Stores,
    instant,
    instant_ms,
    list_response,
    required,
    wrong,
)
from one_api.web.bodies import json_body
from one_api.web.responses import json_response

MAX_NAME_CHARS = MAX_TEXT_CHARS
#: The largest limit, and the largest budget in micro-dollars; far below what 64 bits hold.
MAX_AMOUNT = 10**15
_MAX_NAMES = 200


def _one_line(text: str) -> str:
    # Neither logs nor terminals nor databases shall be surprised by a name.
    if not text.isprintable() or not text.strip():
        raise ValueError("one line of printable characters is needed")
    return text


_Text = Annotated[str, Field(max_length=MAX_NAME_CHARS), AfterValidator(_one_line)]
_Limit = Annotated[int | None, Field(ge=1, le=MAX_AMOUNT)]
_Budget = Annotated[int | None, Field(ge=0, le=MAX_AMOUNT)]


class _KeyFields(BaseModel):
    """What the operator may say of a key; the unknown is refused, a limit that is null is none.

    Budgets are in micro-dollars. `expires_at` is a time in ISO 8601 that is still to come.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        defer_build=True,  # Few gateways are asked for keys: 4 ms of each start.
    )

    owner: _Text | None = None
    tags: Annotated[list[_Text] | None, Field(max_length=_MAX_NAMES)] = None
    expires_at: str | None = None
    models: Annotated[list[_Text] | None, Field(min_length=1, max_length=_MAX_NAMES)] = None
    requests_per_minute: _Limit = None
    tokens_per_minute: _Limit = None
    concurrent_requests: _Limit = None
    budget_day_microusd: _Budget = None
    budget_month_microusd: _Budget = None
    budget_total_microusd: _Budget = None
    max_tokens: _Limit = None
    may_route: bool = False

    @classmethod
    def from_wire(cls, body: object) -> Self:
        """What a decoded JSON body says.

        Raises: InvalidRequest that names the field.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as exc:
            error = exc.errors(include_url=False)[0]
            if error["type"] == "extra_forbidden":
                param = field_path(error["loc"])
                raise InvalidRequest(
                    f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter"
                ) from None
            raise invalid_request(exc) from exc

    def _stored(self) -> dict[str, Any]:
        """All fields as they are stored.

        Raises: InvalidRequest for a time that has passed, or is none.
        """
        given: dict[str, Any] = dict(self)
        expires_at = given.pop("expires_at")
        expires_ms = None if expires_at is None else instant_ms(expires_at)
        if expires_at is not None and (expires_ms is None or expires_ms <= _now_ms()):
            raise wrong("expires_at", "a time to come such as 2027-01-31T00:00:00Z is needed")
        return {
            **given,
            "owner": self.owner or "",
            "tags": tuple(self.tags or ()),
            "models": None if self.models is None else tuple(self.models),
            "expires_ms": expires_ms,
        }


class NewKey(_KeyFields):
    """A key to be made."""

    name: _Text

    def to_spec(self) -> KeySpec:
        """What to store.

        Raises: InvalidRequest for a time that has passed, or is none.
        """
        return KeySpec(**self._stored())


class ChangedKey(_KeyFields):
    """A key that is there: what is not said of it stays as it is, and null takes away."""

    name: _Text = ""

    def to_changes(self) -> KeyChanges:
        """What to store.

        Raises: InvalidRequest for a time that has passed, or is none.
        """
        stored = self._stored()
        said = {"expires_ms" if name == "expires_at" else name for name in self.model_fields_set}
        return cast("KeyChanges", {name: stored[name] for name in said})


def key_to_wire(key: StoredKey) -> JsonObject:
    """The key for the operator, without anything that would let somebody call."""
    state = "good" if key.is_good_at(_now_ms()) else "expired"
    return {
        "object": "key",
        "id": key.id,
        "prefix": key.prefix,
        "state": state if key.revoked_ms is None else "revoked",
        "name": key.name,
        "owner": key.owner,
        "tags": list(key.tags),
        "created_at": instant(key.created_ms),
        "expires_at": instant(key.expires_ms),
        "revoked_at": instant(key.revoked_ms),
        "models": None if key.models is None else list(key.models),
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "concurrent_requests": key.concurrent_requests,
        "budget_day_microusd": key.budget_day_microusd,
        "budget_month_microusd": key.budget_month_microusd,
        "budget_total_microusd": key.budget_total_microusd,
        "max_tokens": key.max_tokens,
        "may_route": key.may_route,
    }


def add_key_routes(blueprint: flask.Blueprint, stores: Stores) -> None:
    """Serve `/keys` below the blueprint; a key is in a reply only where it is made."""

    @blueprint.post("/keys")
    async def create_key() -> flask.Response:
        store = required(stores.keys)
        plaintext, stored = await store.create(NewKey.from_wire(json_body()).to_spec())
        return json_response({**key_to_wire(stored), "key": plaintext}, 201)

    @blueprint.get("/keys")
    async def list_keys() -> flask.Response:
        store = required(stores.keys)
        query = Query("limit", "after")
        limit, after = query.limit(), query.text("after")
        found = await store.list(limit, after=after)
        is_full = len(found) == limit
        return list_response(
            [key_to_wire(key) for key in found], next_after=found[-1].id if is_full else None
        )

    @blueprint.get("/keys/<key_id>")
    async def get_key(key_id: str) -> flask.Response:
        return json_response(key_to_wire(await _found(stores, key_id)))

    @blueprint.patch("/keys/<key_id>")
    async def update_key(key_id: str) -> flask.Response:
        store, key = required(stores.keys), await _found(stores, key_id)
        changes = ChangedKey.from_wire(json_body()).to_changes()
        return json_response(key_to_wire(await store.update(key.id, changes)))

    @blueprint.post("/keys/<key_id>/revoke")
    async def revoke_key(key_id: str) -> flask.Response:
        store, key = required(stores.keys), await _found(stores, key_id)
        return json_response(key_to_wire(await store.revoke(key.id)))

    @blueprint.post("/keys/<key_id>/rotate")
    async def rotate_key(key_id: str) -> flask.Response:
        store, key = required(stores.keys), await _found(stores, key_id)
        plaintext = await store.rotate(key.id)
        return json_response({**key_to_wire(await _found(stores, key.id)), "key": plaintext})


async def _found(stores: Stores, key_id: str) -> StoredKey:
    store = required(stores.keys)
    # What no key has as its id need not be looked for.
    key = await store.get(key_id) if key_id.isprintable() else None
    if key is None:
        raise NotFound("There is no key with this id.")
    return key


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
