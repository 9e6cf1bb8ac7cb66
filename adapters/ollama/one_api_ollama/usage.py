"""The counts of Ollama's last line as OpenAI counts them."""

from __future__ import annotations

from one_api.adapter import JsonObject, Usage


def usage_from_wire(told: JsonObject) -> Usage | None:
    """The usage in a last line; None where the prompt was not counted.

    `prompt_eval_count` includes what came from the cache. Servers of before July 2024 left it out
    for a prompt that was cached; other counts are left out when they are 0.
    Source: docs.ollama.com/openapi.yaml, `ChatResponse`, and github.com/ollama/ollama pull request
    5371 (2024-07-03); that cached tokens are included: github.com/stdapi-ai/stdapi.ai issue 252
    (2026-09-17), which quotes llm/llama_server.go.
    """
    prompt = _count(told, "prompt_eval_count")
    if not prompt:
        return None
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=_count(told, "eval_count"),
        cached_tokens=min(_count(told, "prompt_eval_cached_count"), prompt),
    )


def _count(told: JsonObject, key: str) -> int:
    value = told.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
