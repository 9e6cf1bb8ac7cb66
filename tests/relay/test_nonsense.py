"""No JSON whatever makes a provider's reply into a bug of ours."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.errors import GatewayError, UpstreamInvalidResponse
from one_api.relay import relay_body
from tests.converter.replies import chunks_of, form
from tests.relay.streams import chunk_with, relayed
from tests.scripted_upstream import DONE, openai_completion_body, openai_frames, sse_frame

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly an object with these fields, each of which may be absent or nonsense."""
    return _JSON | st.fixed_dictionaries({}, optional={k: v | _JSON for k, v in fields.items()})


def _some(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=2)


_FUNCTION = _object(name=st.just("f"), arguments=st.just("{}"))
_CALL = _object(
    index=st.integers(-1, 2),
    id=st.sampled_from(["a", "b"]),
    type=st.just("function"),
    function=_FUNCTION,
)
_MESSAGE = _object(
    role=st.just("assistant"), content=st.text(), tool_calls=_some(_CALL), reasoning=st.text()
)
_CHOICE = _object(
    index=st.integers(-1, 2),
    delta=_MESSAGE,
    message=_MESSAGE,
    finish_reason=st.sampled_from(["stop", "tool_calls"]),
)
_REPLY = _object(
    id=st.sampled_from(["x", "y"]),
    choices=_some(_CHOICE),
    usage=_object(prompt_tokens=st.integers()),
    error=_object(message=st.text(), code=st.integers(399, 600)),
)


@settings(deadline=None)
@given(st.lists(_REPLY, max_size=4), st.integers(1, 2))
def test_stream_of_any_json_is_relayed_or_refused(chunks: list[Any], choices: int) -> None:
    opening = openai_frames()[:2]
    try:
        out, _ = relayed([*opening, *map(sse_frame, chunks), *openai_frames()[-3:]])
    except GatewayError:
        return
    assert all(isinstance(chunk["choices"], list) for chunk in chunks_of(out))


@settings(deadline=None)
@given(_REPLY)
def test_body_of_any_json_is_relayed_or_refused(reply: Any) -> None:
    try:
        body, _ = relay_body(json.dumps(reply).encode(), form())
    except GatewayError:
        return
    assert all("message" in choice for choice in orjson.loads(body)["choices"])


@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from([b"data: ", b"\n", b"\n\n", b"\r", *openai_frames()])
    )
)
def test_any_bytes_are_relayed_or_refused(pieces: list[bytes]) -> None:
    try:
        out, _ = relayed(pieces)
    except GatewayError:
        return
    assert out.endswith(DONE)


@pytest.mark.parametrize("depth", [100, 300, 2_000])
def test_deep_nesting_is_relayed_or_refused(depth: int) -> None:
    """JSON readers and writers differ in how deep they go."""
    chunk = sse_frame(chunk_with({"role": "assistant", "content": "a"}, "stop"))
    nested = b'{"x":' + b'{"x":' * depth + b"1" + b"}" * depth + b","
    body = json.dumps(openai_completion_body()).encode().replace(b'"role"', b'"was"', 1)

    if depth == 100:
        assert nested[1:] in relayed([chunk.replace(b"{", nested, 1)])[0]
    else:
        with pytest.raises(UpstreamInvalidResponse):
            relay_body(body.replace(b"{", nested, 1), form())
        with pytest.raises(UpstreamInvalidResponse):
            relayed([chunk.replace(b"assistant", b"").replace(b"{", nested, 1)])
