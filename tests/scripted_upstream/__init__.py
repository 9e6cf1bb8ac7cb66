"""A provider played by a script: a real HTTP/1.1 server that can misbehave and keeps the truth.

    with ScriptedUpstream() as upstream:
        upstream.script(openai_stream(), path=CHAT_PATH)
        ...  # a client of `upstream.url`
        (request,) = upstream.requests
        assert "gpt-x" == request.json["model"]
        assert [] == upstream.unexpected

The server is written on bare sockets, so that it can do what no web framework allows: cut a body,
send half a chunk, reset a connection, and see when a client left.
"""

from __future__ import annotations

from tests.scripted_upstream.answers import (
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    TokenCount,
    ToolCall,
)
from tests.scripted_upstream.anthropic_replies import (
    AnthropicDialect,
    anthropic_content,
    anthropic_error,
    anthropic_error_body,
    anthropic_events,
    anthropic_frames,
    anthropic_message,
    anthropic_message_body,
    anthropic_models_reply,
    anthropic_stream,
    anthropic_usage,
)
from tests.scripted_upstream.openai_replies import (
    DONE,
    OpenAIDialect,
    models_reply,
    openai_chunks,
    openai_completion,
    openai_completion_body,
    openai_error,
    openai_error_body,
    openai_frames,
    openai_stream,
    openai_usage,
)
from tests.scripted_upstream.record import RecordedRequest
from tests.scripted_upstream.replies import (
    bytes_reply,
    json_reply,
    split,
    sse_frame,
    sse_reply,
    with_line_end,
)
from tests.scripted_upstream.server import (
    CHAT_PATH,
    MESSAGES_PATH,
    MODELS_PATH,
    ScriptedUpstream,
    refusing_url,
)
from tests.scripted_upstream.steps import (
    BadChunkSize,
    Chunk,
    Close,
    EndChunks,
    Gate,
    Hang,
    Head,
    Hold,
    Pause,
    Reply,
    Reset,
    Send,
    Step,
    WaitForClose,
)

__all__ = [
    "CHAT_PATH",
    "DONE",
    "HELLO",
    "MESSAGES_PATH",
    "MODELS_PATH",
    "ONE_TOOL_CALL",
    "PARALLEL_TOOL_CALLS",
    "REASONED",
    "TOOL_CALL_WITHOUT_ARGUMENTS",
    "Answer",
    "AnthropicDialect",
    "BadChunkSize",
    "Chunk",
    "Close",
    "EndChunks",
    "Gate",
    "Hang",
    "Head",
    "Hold",
    "OpenAIDialect",
    "Pause",
    "RecordedRequest",
    "Reply",
    "Reset",
    "ScriptedUpstream",
    "Send",
    "Step",
    "TokenCount",
    "ToolCall",
    "WaitForClose",
    "anthropic_content",
    "anthropic_error",
    "anthropic_error_body",
    "anthropic_events",
    "anthropic_frames",
    "anthropic_message",
    "anthropic_message_body",
    "anthropic_models_reply",
    "anthropic_stream",
    "anthropic_usage",
    "bytes_reply",
    "json_reply",
    "models_reply",
    "openai_chunks",
    "openai_completion",
    "openai_completion_body",
    "openai_error",
    "openai_error_body",
    "openai_frames",
    "openai_stream",
    "openai_usage",
    "refusing_url",
    "split",
    "sse_frame",
    "sse_reply",
    "with_line_end",
]
