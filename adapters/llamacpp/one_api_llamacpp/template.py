"""A model's chat template: turns a conversation into the text the model was trained to continue.

The template comes out of the model's file and is code, so it runs in Jinja's sandbox, with the
filters and globals that transformers gives it. Source: transformers `chat_template_utils.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment
from typing_extensions import override

from one_api.adapter import InvalidRequest, JsonObject
from one_api_llamacpp.conversation import (
    with_arguments_as_text,
    with_short_ids,
    with_system_folded,
    with_tools_as_text,
    with_turns_merged,
)
from one_api_llamacpp.tool_formats import ToolFormat

#: For files without a template.
CHATML: Final = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
#: Most seconds that one conversation's rendering may take, and most characters it may come to. A
#: template is code from a file, so it may try to run for ever.
_LONGEST_S: Final = 10.0
_LARGEST: Final = 64 * 2**20


class InvalidTemplate(Exception):
    """The text is not a Jinja template."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A prompt, up to where the assistant's answer begins.

    `tool_format` is how the model was told to write calls. `fallbacks` name the request's fields
    that it is told of in another way than by its own template.
    """

    text: str
    tool_format: ToolFormat
    fallbacks: tuple[str, ...] = ()


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
        except (jinja2.TemplateError, RecursionError) as exc:
            raise InvalidTemplate(str(exc)) from exc
        self._format = ToolFormat.of_template(source)
        self._is_ours = source == CHATML
        #: Whether the model may begin its answer with reasoning.
        self.reasons = "<think>" in source

    def render(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject] = ()) -> Rendering:
        """The prompt for `messages`, in the first of several forms that the template takes.

        Templates differ in what they accept: arguments of calls as objects or as text, roles in
        any order or alternating, a system role or none, tools or none.
        Raises: InvalidRequest when the template refuses the conversation in every form.
        """
        refusal: Exception | None = None
        deadline_s = time.monotonic() + _LONGEST_S
        for form in _forms(messages, tools, knows_tools=self._format is not None):
            try:
                text = self._render(form, deadline_s)
            # Whatever a template's code raises is about this conversation in this template.
            except (
                jinja2.TemplateError,
                ArithmeticError,
                LookupError,
                RecursionError,
                TypeError,
                ValueError,
            ) as exc:
                refusal = refusal or exc
                continue
            if form.tells_tools(text):
                told = ToolFormat.HERMES if "tools" in form.fallbacks else self._format
                lost = {*form.fallbacks, *("messages",) * self._is_ours}
                return Rendering(text, told or ToolFormat.HERMES, tuple(sorted(lost)))
        raise InvalidRequest(
            f"This model's chat template refuses the conversation: {refusal}", param="messages"
        ) from refusal

    def _render(self, form: _Form, deadline_s: float) -> str:
        # Several templates ask whether `tools` is defined, so None must not be passed for none.
        given = {"tools": form.tools} if form.tools else {}
        size, parts = 0, []
        for part in self._template.generate(
            messages=form.messages, add_generation_prompt=True, **given
        ):
            size += len(part)
            parts.append(part)
            if size > _LARGEST or time.monotonic() > deadline_s:
                raise jinja2.TemplateError("it does not come to an end")
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Form:
    """A conversation as one kind of templates wants it."""

    messages: list[JsonObject]
    tools: list[JsonObject]
    fallbacks: tuple[str, ...]
    #: What must be found in a prompt in which nothing about tools was lost.
    names: frozenset[str]

    def tells_tools(self, text: str) -> bool:
        return all(name in text for name in self.names)


def _forms(
    messages: Sequence[JsonObject], tools: Sequence[JsonObject], *, knows_tools: bool
) -> Iterator[_Form]:
    """The conversation in every form, those that change it least first.

    A template that `knows_tools` in no notation that is read here is not told of them.
    """
    has_ids = any("tool_call_id" in m or "tool_calls" in m for m in messages)
    names = {tool["function"]["name"] for tool in tools}
    names.update(c["function"]["name"] for m in messages for c in m.get("tool_calls", ()))
    for folds, tells, merges, shortens, joins in sorted(product((False, True), repeat=5), key=sum):
        if ((shortens or joins) and not has_ids) or (tells and not (has_ids or names)):
            continue
        if names and not (tells or knows_tools):
            continue
        form = with_arguments_as_text(messages) if joins else list(messages)
        form = with_short_ids(form) if shortens else form
        form = with_tools_as_text(form, tools) if tells else form
        form = with_turns_merged(form) if merges else form
        if folds and not any(message["role"] == "system" for message in form):
            continue
        yield _Form(
            messages=with_system_folded(form) if folds else form,
            tools=[] if tells else list(tools),
            fallbacks=("messages",) * folds + ("tools",) * tells,
            names=frozenset() if tells else frozenset(names),
        )


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
