"""OpenAI's `messages` as Anthropic's `system` and `messages`.

Anthropic wants user and assistant in turn, beginning with the user, and every tool call answered
at the head of the next user message. Whatever lies between two assistant messages is therefore
collected and written as one. The conversion only ever appends: adding messages at the end of a
conversation does not change what its beginning became, on which prompt caching and signed
thinking blocks depend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from one_api.adapter import InvalidRequest, UnsupportedParameter
from one_api_claude.blocks import (
    NO_CONTENT,
    text_block,
    text_blocks,
    thinking_blocks,
    tool_input,
    user_blocks,
)
from one_api_claude.identifiers import CallIds, name_to_wire

if TYPE_CHECKING:
    from anthropic.types import (
        ContentBlockParam,
        MessageParam,
        TextBlockParam,
        ToolResultBlockParam,
        ToolUseBlockParam,
    )

NO_RESULT = "[no result provided]"


@dataclass(slots=True)
class Turn:
    """One message on the wire."""

    role: Literal["user", "assistant", "system"]
    blocks: list[ContentBlockParam]

    def to_wire(self) -> MessageParam:
        """The message itself."""
        return cast("MessageParam", {"role": self.role, "content": self.blocks})


@dataclass(slots=True)
class _OpenCall:
    """A tool call that waits for its result; `key` is what the result will refer to."""

    key: str
    wire_id: str
    result: ToolResultBlockParam | None = None


@dataclass(slots=True)
class _Interlude:
    """What lies between two assistant messages."""

    calls: list[_OpenCall] = field(default_factory=list)
    results: list[ToolResultBlockParam] = field(default_factory=list)
    blocks: list[ContentBlockParam] = field(default_factory=list)
    instructions: list[TextBlockParam] = field(default_factory=list)
    has_user: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.calls or self.has_user or self.instructions)


@dataclass(slots=True)
class Conversation:
    """A conversation on the wire; `turns` is never empty and begins with a user."""

    system: list[TextBlockParam] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    @property
    def ends_with_assistant(self) -> bool:
        """Whether the model is asked to go on from words put in its mouth."""
        return self.turns[-1].role == "assistant"

    @property
    def continues_unsigned_calls(self) -> bool:
        """Whether it ends in results of calls whose turn has no signed thinking."""
        last_user = self.turns[-1]
        if last_user.role != "user" or last_user.blocks[0]["type"] != "tool_result":
            return False
        return not any(
            block["type"] in ("thinking", "redacted_thinking") for block in self.turns[-2].blocks
        )

    def blocks(self) -> Iterator[Mapping[str, Any]]:
        """All content blocks in prompt order, those inside tool results before their result."""
        yield from self.system
        for turn in self.turns:
            for block in turn.blocks:
                if block["type"] == "tool_result":
                    yield from cast("list[Mapping[str, Any]]", block.get("content", []))
                yield cast("Mapping[str, Any]", block)


def conversation_to_wire(
    messages: Sequence[Mapping[str, Any]], *, mid_system: bool
) -> Conversation:
    """The conversation in `messages`.

    `mid_system`: the model takes instructions inside the conversation; else later ones are added
    to the system prompt.
    Raises: InvalidRequest, UnsupportedParameter.
    """
    writer = _Writer(mid_system=mid_system)
    for index, message in enumerate(messages):
        writer.take(message, f"messages[{index}]")
    return writer.close()


class _Writer:
    def __init__(self, *, mid_system: bool) -> None:
        self._mid_system = mid_system
        self._conversation = Conversation()
        self._interlude = _Interlude()
        self._ids = CallIds()
        self._has_begun = False

    def take(self, message: Mapping[str, Any], path: str) -> None:
        role = message["role"]
        if role in ("system", "developer"):
            self._take_instructions(text_blocks(message))
            return
        self._has_begun = True
        if role == "assistant":
            self._take_assistant(message, path)
        elif role == "user":
            self._interlude.has_user = True
            self._interlude.blocks += user_blocks(message, path)
        elif role == "tool":
            self._take_result(message, message["tool_call_id"], path, "tool_call_id")
        else:
            self._take_result(message, f"function {message['name']}", path, "name")

    def close(self) -> Conversation:
        if not self._conversation.turns:
            self._interlude.has_user = True
        self._write_interlude()
        return self._conversation

    def _take_instructions(self, blocks: list[TextBlockParam]) -> None:
        if self._has_begun and self._mid_system:
            self._interlude.instructions += blocks
        else:
            self._conversation.system += blocks

    def _take_assistant(self, message: Mapping[str, Any], path: str) -> None:
        if message.get("audio"):
            raise UnsupportedParameter(
                "Audio of earlier turns is not supported with this model.", param=f"{path}.audio"
            )
        said: list[ContentBlockParam] = [*text_blocks(message)]
        said += text_block(message.get("refusal") or "", {})
        calls = _calls(message)
        if not said and not calls:
            return
        self._write_interlude()
        turns = self._conversation.turns
        if not turns:
            turns.append(Turn("user", _placeholder()))
        if turns[-1].role != "assistant":
            turns.append(Turn("assistant", []))
        blocks = turns[-1].blocks
        blocks += thinking_blocks(message)
        blocks += said
        for key, name, arguments in calls:
            wire_id = self._ids.assign_function() if key is None else self._ids.assign(key)
            open_call = _OpenCall(f"function {name}" if key is None else key, wire_id)
            self._interlude.calls.append(open_call)
            use: ToolUseBlockParam = {
                "type": "tool_use",
                "id": wire_id,
                "name": name_to_wire(name),
                "input": arguments,
            }
            blocks.append(use)

    def _take_result(self, message: Mapping[str, Any], key: str, path: str, reference: str) -> None:
        calls = [call for call in self._interlude.calls if call.key == key]
        if not calls:
            raise InvalidRequest(
                f"The message of role '{message['role']}' does not answer a call of the preceding "
                "assistant message.",
                param=f"{path}.{reference}",
                code="invalid_value",
            )
        waiting = [call for call in calls if call.result is None]
        call = waiting[0] if waiting else calls[-1]
        if call.result is None:
            call.result = {"type": "tool_result", "tool_use_id": call.wire_id}
            self._interlude.results.append(call.result)
        blocks = user_blocks(message, path)
        if blocks:
            # Two messages with one id are two parts of one result.
            call.result["content"] = [*_result_content(call.result), *blocks]

    def _write_interlude(self) -> None:
        """Write what was collected since the last assistant message, if anything was."""
        interlude, self._interlude = self._interlude, _Interlude()
        if interlude.is_empty:
            return
        blocks: list[ContentBlockParam] = [*interlude.results]
        for call in interlude.calls:
            if call.result is None:
                blocks.append(
                    {
                        "type": "tool_result",
                        "tool_use_id": call.wire_id,
                        "is_error": True,
                        "content": [{"type": "text", "text": NO_RESULT}],
                    }
                )
        blocks += interlude.blocks
        self._conversation.turns.append(Turn("user", blocks or _placeholder()))
        if interlude.instructions:
            self._conversation.turns.append(Turn("system", [*interlude.instructions]))


def _calls(message: Mapping[str, Any]) -> list[tuple[str | None, str, dict[str, object]]]:
    """Id, name and input of the calls of an assistant message; a legacy call has no id."""
    calls: list[tuple[str | None, str, dict[str, object]]] = []
    for call in message.get("tool_calls") or ():
        if call["type"] == "function":
            function = call["function"]
            calls.append((call["id"], function["name"], tool_input(function["arguments"])))
        else:
            custom = call["custom"]
            calls.append((call["id"], custom["name"], {"input": custom["input"]}))
    legacy = message.get("function_call")
    if legacy:
        calls.append((None, legacy["name"], tool_input(legacy["arguments"])))
    return calls


def _placeholder() -> list[ContentBlockParam]:
    return [{"type": "text", "text": NO_CONTENT}]


def _result_content(result: ToolResultBlockParam) -> list[Any]:
    content = result.get("content", [])
    return list(content) if not isinstance(content, str) else []
