"""Who keeps what clients will name again."""

from __future__ import annotations

import pytest
from typing_extensions import override

from one_api.bindings import SHARED_S, SNIFFED_BYTES, Bindings, Place, id_in_path
from one_api.counters.memory import MemoryCounters
from one_api.deployment import Deployment
from one_api.errors import StorageUnavailable

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
    assert id_ == bindings.learn(data, A)
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


class TestShared:
    """What one process has learnt, told to another one."""

    async def test_others_know_what_was_told(self) -> None:
        store = MemoryCounters()
        here, there = Bindings(shared=store), Bindings(shared=store)
        learnt = here.learn(b'{"id":"resp_1"}', A)
        assert learnt is not None

        assert await there.ask_others("resp_1") is None
        await here.share(learnt)

        assert Place("m", "a", "x") == await there.ask_others("resp_1")
        assert there.recall("resp_1") is None

    async def test_nothing_is_told_of_what_was_not_learnt(self) -> None:
        store = MemoryCounters()
        await Bindings(shared=store).share("resp_1")
        assert await Bindings(shared=store).ask_others("resp_1") is None

    async def test_it_is_forgotten_in_time(self) -> None:
        now_s = [0.0]
        store = MemoryCounters(clock=lambda: now_s[0])
        bindings = Bindings(shared=store)
        bindings.learn(b'{"id":"resp_1"}', A)
        await bindings.share("resp_1")

        now_s[0] = SHARED_S - 1
        assert await bindings.ask_others("resp_1") is not None
        now_s[0] = SHARED_S + 1
        assert await bindings.ask_others("resp_1") is None

    @pytest.mark.parametrize(
        "id_", [None, "", "resp_", "resp_a b", "file_1", "resp_1\n", "x" * 999]
    )
    async def test_only_ids_are_asked_for(self, id_: str | None) -> None:
        store = Gone()
        assert await Bindings(shared=store).ask_others(id_) is None
        assert 0 == store.asked

    @pytest.mark.parametrize(
        "told",
        [b"", b"[", b"{}", b"null", b'"abc"', b'["m","a"]', b'["m",["a"],"x"]', b'["m","a","x",1]'],
    )
    async def test_what_is_told_otherwise_is_unknown(self, told: bytes) -> None:
        store = MemoryCounters()
        await store.put("bound:resp_1", told, 60)
        assert await Bindings(shared=store).ask_others("resp_1") is None

    async def test_without_the_store_each_knows_what_it_has_seen(self) -> None:
        store = Gone()
        bindings = Bindings(shared=store)
        bindings.learn(b'{"id":"resp_1"}', A)
        await bindings.share("resp_1")

        assert A is bindings.recall("resp_1")
        assert await bindings.ask_others("resp_2") is None
        assert 2 == store.asked

    async def test_nobody_is_asked_where_nothing_is_shared(self) -> None:
        bindings = Bindings()
        bindings.learn(b'{"id":"resp_1"}', A)
        await bindings.share("resp_1")
        assert await bindings.ask_others("resp_1") is None


class Gone(MemoryCounters):
    """A store that does not answer, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    @override
    async def get(self, key: str) -> bytes | None:
        self.asked += 1
        raise StorageUnavailable("gone")

    @override
    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        self.asked += 1
        raise StorageUnavailable("gone")
