"""A paused turn's continuation: what is kept of it for sending back."""

from __future__ import annotations

from adapters.claude.tests.recorded import reply
from one_api.adapter import Finish, TextDelta, Usage, UsageReport
from one_api_claude.from_wire import MessageParser, Reading


def paused() -> MessageParser:
    parser = MessageParser(Reading())
    for _ in parser.feed(reply("pause_first")):
        pass
    return parser


def test_a_paused_turn_is_kept_for_sending_back() -> None:
    parser = paused()
    assert parser.is_paused
    assert parser.content == [
        {"type": "text", "text": "Looking… "},
        {
            "type": "server_tool_use",
            "id": "srvtoolu_01",
            "name": "web_search",
            "input": {"query": "x"},
        },
    ]


def test_a_resumed_turn_adds_content_and_usage() -> None:
    parser = paused()
    parser.resume()
    events = [*parser.feed(reply("pause_second")), *parser.close()]
    usage = Usage(
        prompt_tokens=115 + 150, completion_tokens=29, cached_tokens=210, cache_write_tokens=5
    )
    assert [TextDelta("found."), UsageReport(usage), Finish("stop")] == events
    assert parser.content[-1] == {"type": "text", "text": "found."}


def test_sent_back_text_keeps_its_citations() -> None:
    parser = MessageParser(Reading())
    for _ in parser.feed(reply("citations")):
        pass
    plain, cited, _ = parser.content
    assert "citations" not in plain
    kinds = [citation["type"] for citation in cited["citations"]]
    assert kinds == ["web_search_result_location", "page_location"]


def test_sent_back_thinking_is_whole() -> None:
    parser = MessageParser(Reading())
    for _ in parser.feed(reply("interleaved_thinking")):
        pass
    assert parser.content == [
        {"type": "thinking", "thinking": "one", "signature": "SigOne"},
        {"type": "text", "text": "A"},
        {"type": "thinking", "thinking": "two", "signature": "SigTwo"},
        {"type": "text", "text": "B"},
    ]
