"""Who keeps what clients will name again."""

from __future__ import annotations

import pytest

from one_api.bindings import SNIFFED_BYTES, Bindings, id_in_path
from one_api.deployment import Deployment

A = Deployment(model="m", adapter="a", upstream_model="x")
B = Deployment(model="m", adapter="b", upstream_model="x")


@pytest.mark.parametrize(
    ("data", "id_"),
    [
        (b'{"id":"resp_1","object":"response"}', "resp_1"),
        (b'{ "object": "response",\n  "id" : "resp_a-B_9" }', "resp_a-B_9"),
        (b'{"id":"conv_7"}', "conv_7"),
        (b'event: response.created\ndata: {"response":{"id":"resp_2"}}\n\n', "resp_2"),
        (b'{"id":"msg_1","response":{"id":"resp_3"}}', "resp_3"),
        (b'{"id":"resp_first","output":[{"id":"resp_second"}]}', "resp_first"),
    ],
    ids=["response", "spaces", "conversation", "stream", "within", "first"],
)
def test_the_id_at_the_beginning_of_a_reply_is_learnt(data: bytes, id_: str) -> None:
    bindings = Bindings()
    assert bindings.learn(data, A)
    assert A is bindings.recall(id_)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"id":"chatcmpl-1"}',
        b'{"id":"resp_',
        b'{"id":"resp_1',
        b'{"id":"resp_"}',
        b'{"id":"resp_%s"}' % (b"x" * 129),
        b'{"text":"id: resp_1"}',
        b'{"id":"resp_a b"}',
        b" " * SNIFFED_BYTES + b'{"id":"resp_1"}',
    ],
    ids=["empty", "chat", "cut", "cut later", "no name", "long", "words", "space", "late"],
)
def test_nothing_else_is(data: bytes) -> None:
    bindings = Bindings()
    assert not bindings.learn(data, A)
    assert bindings.recall("resp_1") is None


def test_what_is_unknown_is_nowhere() -> None:
    assert Bindings().recall("resp_1") is None
    assert Bindings().recall(None) is None


def test_the_last_one_to_tell_an_id_has_it() -> None:
    bindings = Bindings()
    bindings.learn(b'{"id":"resp_1"}', A)
    bindings.learn(b'{"id":"resp_1"}', B)
    assert B is bindings.recall("resp_1")


def test_the_one_not_asked_for_longest_is_forgotten() -> None:
    bindings = Bindings(limit=2)
    bindings.learn(b'{"id":"resp_1"}', A)
    bindings.learn(b'{"id":"resp_2"}', A)
    bindings.recall("resp_1")
    bindings.learn(b'{"id":"resp_3"}', B)
    assert [A, None, B] == [bindings.recall(f"resp_{number}") for number in (1, 2, 3)]


def test_an_id_that_is_told_again_is_not_old() -> None:
    bindings = Bindings(limit=2)
    for number in (1, 2, 1, 3):
        bindings.learn(b'{"id":"resp_%d"}' % number, A)
    assert [A, None, A] == [bindings.recall(f"resp_{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("path", "id_"),
    [
        ("/responses/resp_1", "resp_1"),
        ("/responses/resp_1/input_items", "resp_1"),
        ("/responses/resp_1/cancel", "resp_1"),
        ("/conversations/conv_1/items/msg_1", "conv_1"),
        ("/responses", None),
        ("/responses/", None),
        ("/responses/compact", None),
        ("/files/resp_1", None),
        ("/responses/resp_1x y", None),
        ("/other/responses/resp_1", None),
    ],
)
def test_paths_name_what_is_stored(path: str, id_: str | None) -> None:
    assert id_ == id_in_path(path)
