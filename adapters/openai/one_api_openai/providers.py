"""The table: one row for each provider that speaks OpenAI's format.

Only data differs between rows; capabilities start closed and a row opts in. A provider that needs
behaviour of its own gets a package of its own. Facts are from the provider's pages named in
`source`; where a page does not say that a field is known, the row stays closed.
"""

from __future__ import annotations

from one_api.adapter import CompatibleProvider

#: The first row is also the one for any other endpoint, by its base URL.
PROVIDERS: tuple[CompatibleProvider, ...] = (
    CompatibleProvider(
        name="openai",
        base_url="https://api.openai.com/v1",
        max_completion_tokens=True,
        developer_role=True,
        source="https://platform.openai.com/docs/api-reference/chat, read 2026-11",
    ),
    CompatibleProvider(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        source="https://api-docs.deepseek.com/api/create-chat-completion, read 2026-11",
    ),
    CompatibleProvider(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        max_completion_tokens=True,
        source="https://console.groq.com/docs/api-reference#chat-create, read 2026-11",
    ),
    CompatibleProvider(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        stream_usage=False,  # sends usage with the last chunk unasked; refuses unknown fields
        source="https://docs.mistral.ai/api/#tag/chat, read 2026-11",
    ),
    CompatibleProvider(
        name="together",
        base_url="https://api.together.xyz/v1",
        source="https://docs.together.ai/reference/chat-completions, read 2026-11",
    ),
    CompatibleProvider(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        max_completion_tokens=True,
        developer_role=True,
        source="https://openrouter.ai/docs/api-reference/chat-completion, read 2026-11",
    ),
    CompatibleProvider(
        name="moonshot",
        base_url="https://api.moonshot.cn/v1",
        source="https://platform.moonshot.cn/docs/api/chat, read 2026-11",
    ),
    CompatibleProvider(
        name="dashscope",
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        source="https://help.aliyun.com/zh/model-studio/compatibility-of-openai-with-dashscope, "
        "read 2026-11",
    ),
    CompatibleProvider(
        name="zhipu",
        base_url="https://open.bigmodel.cn/api/paas/v4",
        source="https://docs.bigmodel.cn/api-reference, read 2026-11",
    ),
    CompatibleProvider(
        name="siliconflow",
        base_url="https://api.siliconflow.cn/v1",
        source="https://docs.siliconflow.cn/cn/api-reference/chat-completions, read 2026-11",
    ),
    CompatibleProvider(
        name="xai",
        base_url="https://api.x.ai/v1",
        max_completion_tokens=True,
        source="https://docs.x.ai/docs/api-reference#chat-completions, read 2026-11",
    ),
    CompatibleProvider(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        keyless=True,
        source="https://github.com/ollama/ollama/blob/main/docs/openai.md, read 2026-11",
    ),
    CompatibleProvider(
        name="vllm",
        base_url="http://127.0.0.1:8000/v1",
        keyless=True,
        max_completion_tokens=True,
        developer_role=True,
        source="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, read 2026-11",
    ),
    CompatibleProvider(
        name="lmstudio",
        base_url="http://127.0.0.1:1234/v1",
        keyless=True,
        source="https://lmstudio.ai/docs/app/api/endpoints/openai, read 2026-11",
    ),
)
