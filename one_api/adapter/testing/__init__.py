"""The conformance suite: what an adapter's author runs, and what users may trust.

    pytest --one-api-adapter=NAME

An adapter of a provider with an HTTP API brings a `ConformanceProfile` along: `PROFILE` in the
module `conformance` of its package. See docs/adapters/conformance.md.
"""

from __future__ import annotations

from one_api.adapter.testing.answers import Answer, AnswerEnd, TokenCount, ToolCall
from one_api.adapter.testing.bench import Subject
from one_api.adapter.testing.law import SUITE_VERSION, Law
from one_api.adapter.testing.laws import LAWS
from one_api.adapter.testing.profile import (
    ConformanceProfile,
    UpstreamReply,
    UpstreamRequest,
    json_reply,
    sse_reply,
)
from one_api.adapter.testing.report import Report, Ruling
from one_api.adapter.testing.scripted_upstream import ScriptedUpstream
from one_api.adapter.testing.suite import run

__all__ = [
    "LAWS",
    "SUITE_VERSION",
    "Answer",
    "AnswerEnd",
    "ConformanceProfile",
    "Law",
    "Report",
    "Ruling",
    "ScriptedUpstream",
    "Subject",
    "TokenCount",
    "ToolCall",
    "UpstreamReply",
    "UpstreamRequest",
    "json_reply",
    "run",
    "sse_reply",
]
