"""The table: one row for each provider that speaks OpenAI's format.

Only data differs between rows; capabilities start closed and a row opts in. A provider that needs
behaviour of its own gets a package of its own. Facts are from what `source` names: the provider's
SDK by its version, or a stored copy of its page by the day the page bears or the copy was seen.
What these do not tell stays closed, and `source` calls it unverified.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from one_api.adapter import CompatibleProvider

#: The first row is also the one for any other endpoint, by its base URL.
PROVIDERS: tuple[CompatibleProvider, ...] = (
    CompatibleProvider(
        name="openai",
        base_url="https://api.openai.com/v1",
        completions=True,
        max_completion_tokens=True,
        safety_identifier=True,
        developer_role=True,
        responses=True,
        source="openai (Python SDK) 3.52.0: base URL, types/chat, types/responses, "
        "resources/models; 2026-11-21",
    ),
    CompatibleProvider(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        source="https://api-docs.deepseek.com/zh-cn/quick_start/your_first_api_call.md (stored "
        "copy, seen 2026-11-21; tells of the model of 2026-10-17): host, without a version path; "
        "https://docs.pipecat.ai/server/services/llm/deepseek (seen 2026-11-21): /v1. Role "
        "developer is refused: https://github.com/EKKOLearnAI/hermes-studio/issues/1926 "
        "(2026-07-04). Model list from a mirror of the API reference, "
        "https://share.apidog.com/apidoc/docs-site/747793 (2026-06-29); stream_options from "
        "another, https://toiotech.apifox.cn/deepseek-reasoner-398141713e0. max_completion_tokens "
        "unverified",
    ),
    CompatibleProvider(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        max_completion_tokens=True,
        developer_role=True,
        source="groq (Python SDK) 1.7.0: base URL, types/chat, resources/models; 2026-11-21",
    ),
    CompatibleProvider(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        stream_usage=False,  # told in the last chunk unasked; asking is refused with 422
        source="mistralai (Python SDK) 3.7.0: base URL, models/chatcompletionstreamrequest (has "
        "max_tokens only), models/completionchunk, models_; 2026-11-21. The 422: "
        "https://github.com/avante-corp/avante.nvim/issues/2347 (2025-06-27)",
    ),
    CompatibleProvider(
        name="together",
        base_url="https://api.together.ai/v1",
        source="https://docs.together.ai/docs/inference/openai-compatibility (stored copy, seen "
        "2026-11-21): base URL; together (Python SDK) 3.1.1: types/chat (max_tokens and role "
        "system only). stream_options and model list unverified",
    ),
    CompatibleProvider(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        max_completion_tokens=True,
        developer_role=True,
        responses=True,
        source="openrouter (Python SDK) 1.3.84 of 2026-10-27: base URL, components/chatrequest, "
        "components/chatdevelopermessage, models_; components/chatstreamoptions: usage is told "
        "whether asked for or not; https://openrouter.ai/docs/api_reference/responses/"
        "basic-usage.md (stored copy, seen 2026-11-21): responses, in beta",
    ),
    CompatibleProvider(
        name="moonshot",
        base_url="https://api.moonshot.cn/v1",
        max_completion_tokens=True,
        source="https://platform.kimi.com/docs/guide: utilize-the-streaming-output-feature-of-kimi-"
        "api: base URL; https://test-platform.kimi.ai/docs/api: chat, overview (the international "
        "twin): max_tokens deprecated, roles system, user and assistant, model list (stored "
        "copies, seen 2026-11-21). stream_options unverified",
    ),
    CompatibleProvider(
        name="dashscope",
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        # The notice knows max_completion_tokens, but does not tell which models know it.
        source="https://www.alibabacloud.com/help/en/model-studio: qwen-api-via-openai-chat-"
        "completions (stored copy of 2026-03-18): base URL; compatibility-of-openai-with-dashscope "
        "(2026-06-25) names a host for each workspace instead; api-compatibility-upgrade-notice "
        "(2026-11-11): max_completion_tokens. Role developer, stream_options and model list "
        "unverified",
    ),
    CompatibleProvider(
        name="zhipu",
        base_url="https://open.bigmodel.cn/api/paas/v4",
        stream_usage=False,  # told in the last chunk unasked; stream_options is not a parameter
        source="https://docs.bigmodel.cn/cn/guide/capabilities/streaming (stored copy, seen "
        "2026-11-21): usage; zai-sdk (Python) 0.2.3: base URL, api_resource/chat (has max_tokens "
        "only). Role developer and model list unverified",
    ),
    CompatibleProvider(
        name="siliconflow",
        base_url="https://api.siliconflow.cn/v1",
        source="https://docs.siliconflow.cn/cn/api-reference/chat-completions/chat-completions "
        "(stored copy, seen 2026-11-21): base URL, max_tokens. Role developer, stream_options and "
        "model list unverified",
    ),
    CompatibleProvider(
        name="xai",
        base_url="https://api.x.ai/v1",
        max_completion_tokens=True,
        responses=True,
        source="https://docs.x.ai/developers/rest-api-reference/inference (stored copy, seen "
        "2026-11-21): base URL, model list; https://docs.x.ai/developers/model-capabilities/text/"
        "generate-text (the same): responses. max_completion_tokens from a mirror, "
        "https://www.withone.ai/knowledge/x-ai (seen 2026-11-21). Role developer and "
        "stream_options unverified",
    ),
    CompatibleProvider(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        completions=True,
        keyless=True,
        source="https://github.com/ollama/ollama: docs/api/openai-compatibility.mdx, and "
        "openai/openai.go at 634c4166 (stream_options, model list, completions, no "
        "max_completion_tokens); "
        "issue 7125 (2026-08-21): 0.32.5 ignores max_completion_tokens. Role developer unverified",
    ),
    CompatibleProvider(
        name="vllm",
        base_url="http://127.0.0.1:8000/v1",
        completions=True,
        keyless=True,
        max_completion_tokens=True,
        # Role developer stays closed: vLLM hands it to the chat template, and many refuse it.
        source="https://github.com/vllm-project/vllm: "
        "vllm/entrypoints/openai/chat_completion/protocol.py at d5dba2d7 (max_completion_tokens, "
        "stream_options). Role developer: https://github.com/ogx-ai/ogx/issues/6069 (0.22.1, "
        "2026-06-09); model list: https://github.com/1CatAI/1Cat-vLLM/issues/493 (a fork, "
        "2026-09-04). Default port unverified",
    ),
    CompatibleProvider(
        name="lmstudio",
        base_url="http://127.0.0.1:1234/v1",
        completions=True,
        keyless=True,
        source="https://github.com/lmstudio-ai/docs: 1_developer/3_openai-compat: "
        "chat-completions.md at 51c92c69 (port, max_tokens only), models.md at 8ec2b227 (model "
        "list); 1_developer/api-changelog.md at 3253cd8f (stream_options since 0.3.18, "
        "2025-07-10); https://lmstudio.ai/docs/api/openai-api (stored copy, seen 2026-11-21): "
        "completions. Role developer unverified",
    ),
)


def row_named(name: str) -> CompatibleProvider | None:
    """The row called `name`."""
    return next((row for row in PROVIDERS if row.name == name), None)


def row_at(base_url: str) -> CompatibleProvider | None:
    """The row whose host and port `base_url` leads to, whatever its path."""
    return next((row for row in PROVIDERS if is_at(base_url, row)), None)


def is_at(base_url: str, row: CompatibleProvider) -> bool:
    """Whether `base_url` leads to the host and port of `row`."""
    return bool(base_url) and _authority(base_url) == _authority(row.base_url)


def _authority(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, parts.port or (443 if parts.scheme == "https" else 80)
