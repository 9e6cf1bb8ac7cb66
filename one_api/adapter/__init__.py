"""What an adapter's author imports, and nothing else.

Names listed in `__all__` are the promise of contract version `API_VERSION`; everything else in
the package is private to the core.
"""

from __future__ import annotations

from one_api.adapter.base import API_VERSION, AdapterContext, BaseModelAdapter, Call
from one_api.adapter.clock import Clock, SystemClock
from one_api.adapter.completions import CompletionParser, SupportsCompletions
from one_api.adapter.credentials import Credential, SupportsCredentialFlow
from one_api.adapter.embeddings import Embeddings, SupportsEmbeddings
from one_api.adapter.health_probe import SupportsHealthProbe
from one_api.adapter.http import (
    HTTPModelAdapter,
    HTTPTransport,
    ReplyParser,
    WireReply,
    WireRequest,
)
from one_api.adapter.http_errors import (
    duration_to_wire,
    error_from_reply,
    error_from_status,
    parse_retry_after_s,
)
from one_api.adapter.notices import Notice
from one_api.adapter.openai_compatible import (
    CompatibleProvider,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
    normalise_base_url,
)
from one_api.adapter.parameters import ParameterPolicy
from one_api.adapter.passthrough import RawRequest, SupportsPassthrough
from one_api.adapter.readings import Reading, SupportsReadings
from one_api.adapter.settings import AdapterSettings, UpstreamSettings
from one_api.adapter.sse import ServerSentEvent, SSEDecoder
from one_api.adapter.stop import StopScanner
from one_api.adapter.token_counting import SupportsTokenCounting
from one_api.deployment import Timeouts
from one_api.errors import (
    ConfigurationError,
    Conflict,
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    NoDeploymentAvailable,
    RateLimitExceeded,
    RequestTooLarge,
    UnsupportedParameter,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from one_api.events import (
    Annotation,
    Event,
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.completions import CompletionRequest
from one_api.schemas.embeddings import EmbeddingRequest
from one_api.schemas.models import ModelInfo

__all__ = [
    "API_VERSION",
    "AdapterContext",
    "AdapterSettings",
    "Annotation",
    "BaseModelAdapter",
    "Call",
    "ChatCompletionRequest",
    "Clock",
    "CompatibleProvider",
    "CompletionParser",
    "CompletionRequest",
    "ConfigurationError",
    "Conflict",
    "ContextWindowExceeded",
    "Credential",
    "CredentialRejected",
    "EmbeddingRequest",
    "Embeddings",
    "Event",
    "Finish",
    "FinishReason",
    "GatewayError",
    "HTTPModelAdapter",
    "HTTPTransport",
    "InternalError",
    "InvalidRequest",
    "JsonObject",
    "KeepAlive",
    "ModelInfo",
    "ModelNotFound",
    "NoDeploymentAvailable",
    "Notice",
    "OpenAICompatibleAdapter",
    "OpenAICompatibleSettings",
    "ParameterPolicy",
    "RateLimitExceeded",
    "RawRequest",
    "Reading",
    "ReasoningDelta",
    "RefusalDelta",
    "Relay",
    "ReplyParser",
    "RequestTooLarge",
    "SSEDecoder",
    "ServerSentEvent",
    "Start",
    "StopScanner",
    "SupportsCompletions",
    "SupportsCredentialFlow",
    "SupportsEmbeddings",
    "SupportsHealthProbe",
    "SupportsPassthrough",
    "SupportsReadings",
    "SupportsTokenCounting",
    "SystemClock",
    "TextDelta",
    "ThinkingBlockDelta",
    "Timeouts",
    "ToolCallDelta",
    "UnsupportedParameter",
    "UpstreamDisconnected",
    "UpstreamError",
    "UpstreamInvalidResponse",
    "UpstreamOverloaded",
    "UpstreamQuotaExhausted",
    "UpstreamRateLimited",
    "UpstreamServerError",
    "UpstreamSettings",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "UpstreamUntrusted",
    "Usage",
    "UsageReport",
    "WireReply",
    "WireRequest",
    "duration_to_wire",
    "error_from_reply",
    "error_from_status",
    "normalise_base_url",
    "parse_retry_after_s",
]
