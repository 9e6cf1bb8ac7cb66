"""A model's chat template: turns a conversation into the text the model was trained to continue.

The template comes out of the model's file and is code, so it runs in Jinja's sandbox, with the
filters and globals that transformers gives it. Source: transformers `chat_template_utils.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment
from typing_extensions import override

from one_api.adapter import InvalidRequest, JsonObject, UnsupportedParameter
from one_api_llamacpp.conversation import with_arguments_as_text, with_system_folded

#: For files without a template. Tools are told as in Hermes and Qwen models.
CHATML: Final = """\
{%- set ns = namespace(system='') -%}
{%- for message in messages if message.role == 'system' -%}
{%- set ns.system = ns.system + message.content + '\\n' -%}
{%- endfor -%}
{%- if tools -%}
{%- set ns.system = ns.system + '# Tools\\n\\nYou may call these functions:\\n<tools>' -%}
{%- for tool in tools -%}{%- set ns.system = ns.system + '\\n' + (tool | tojson) -%}{%- endfor -%}
{%- set ns.system = ns.system + '\\n</tools>\\n\\nFor each call answer with\\n<tool_call>\\n'
    + '{"name": <name>, "arguments": <arguments as JSON>}\\n</tool_call>\\n' -%}
{%- endif -%}
{%- if ns.system -%}{{- '<|im_start|>system\\n' + ns.system + '<|im_end|>\\n' -}}{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
{%- if message.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
{%- else -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content -}}
{%- for call in message.tool_calls or () -%}
{{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class InvalidTemplate(Exception):
    """The text is not a Jinja template."""


class ChatTemplate:
    """One compiled template. Rendering is safe from several threads."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        environment = SandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(
            raise_exception=_refuse, strftime_now=_now, bos_token=bos, eos_token=eos
        )
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as exc:
            raise InvalidTemplate(str(exc)) from exc

    def render(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject] = ()) -> str:
        """The prompt, up to where the assistant's answer begins.

        Templates differ in what they accept: arguments of calls as objects or as text, a system
        role or none. The first form that renders is taken.
        Raises: InvalidRequest when the template refuses the conversation, UnsupportedParameter
        when it would leave the tools out.
        """
        refusal: Exception | None = None
        for as_text, folded in product((False, True), repeat=2):
            form = with_arguments_as_text(messages) if as_text else list(messages)
            if folded and not any(message["role"] == "system" for message in form):
                continue
            try:
                prompt = self._render(with_system_folded(form) if folded else form, tools)
            # Whatever a template's code raises is about this conversation in this template.
            except (
                jinja2.TemplateError,
                ArithmeticError,
                LookupError,
                TypeError,
                ValueError,
            ) as exc:
                refusal = refusal or exc
                continue
            if tools and tools[0]["function"]["name"] not in prompt:
                raise UnsupportedParameter(
                    "This model's chat template knows no tools.", param="tools"
                )
            return prompt
        raise InvalidRequest(
            f"This model's chat template refuses the conversation: {refusal}", param="messages"
        ) from refusal

    def _render(self, messages: list[JsonObject], tools: Sequence[JsonObject]) -> str:
        # Several templates ask whether `tools` is defined, so None must not be passed for none.
        given = {"tools": list(tools)} if tools else {}
        return self._template.render(messages=messages, add_generation_prompt=True, **given)


class _GenerationTag(Extension):
    """`{% generation %}` marks training targets in some templates; here its body is all."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    @override
    def parse(self, parser: Parser) -> list[nodes.Node]:
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now(UTC).astimezone().strftime(pattern)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=list,  # some templates pass a filter's result, which is a generator
    )
