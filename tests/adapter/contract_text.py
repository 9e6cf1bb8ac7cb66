"""The contract of adapters as text: every promised name, with its fields and signatures.

`python -m tests.adapter.contract_text --write` writes it to the file that the tests compare with.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typing_extensions import override

from one_api import adapter

ALL = frozenset(adapter.__all__)
SNAPSHOT = Path(__file__).parent / f"contract_v{adapter.API_VERSION}.txt"


def contract_text() -> str:
    """The contract as it is now."""
    return "".join(
        f"{line}\n"
        for name in sorted(adapter.__all__)
        for line in _told(name, getattr(adapter, name))
    )


class _Raw:
    """An annotation that is written as its author wrote it."""

    def __init__(self, text: object) -> None:
        self.text = text

    @override
    def __repr__(self) -> str:
        return str(self.text)


def _told(name: str, value: Any) -> Iterator[str]:
    if inspect.isfunction(value):
        yield _signature(name, value)
    elif not inspect.isclass(value) or hasattr(value, "__origin__"):
        yield f"{name} = {str(value).replace('one_api.events.', '').replace('typing.', '')}"
    else:
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        for cls in _written(value):
            yield from (f"    {line}" for line in _members(cls))


def _written(cls: type) -> list[type]:
    """`cls` and those of its bases that are not promised under a name of their own."""
    return [
        one
        for one in cls.__mro__
        if one is cls or (one.__module__.startswith("one_api.") and one.__name__ not in ALL)
    ]


def _members(cls: type) -> Iterator[str]:
    fields = dict(_fields(cls))
    yield from fields.values()
    for name, member in sorted(vars(cls).items()):
        if name == "__init__":
            # Dataclasses, models and protocols are given one that nobody wrote.
            if f"{cls.__name__}.__init__" == member.__qualname__ and not dataclasses.is_dataclass(
                cls
            ):
                yield _signature(name, member)
        elif name not in fields and not name.startswith("_") and not hasattr(BaseModel, name):
            yield _member(cls, name, member)


def _member(cls: type, name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"property {name}: {inspect.signature(member.fget).return_annotation}"  # type: ignore[arg-type]  # each has a getter
    if isinstance(member, classmethod):
        return f"classmethod {_signature(name, member.__func__)}"
    if inspect.isfunction(member):
        return _signature(name, member)
    return f"{name}: {cls.__annotations__.get(name, 'ClassVar')} = {_value(member)}"


def _fields(cls: type) -> Iterator[tuple[str, str]]:
    if dataclasses.is_dataclass(cls):
        for one in dataclasses.fields(cls):
            default = ""
            if one.default is not dataclasses.MISSING:
                default = f" = {_value(one.default)}"
            elif one.default_factory is not dataclasses.MISSING:
                default = f" = {_value(one.default_factory)}()"
            keyword = "keyword " if one.kw_only else ""
            yield one.name, f"{keyword}{one.name}: {one.type}{default}"
    elif issubclass(cls, BaseModel):
        for name, field in cls.model_fields.items():
            if name in cls.__annotations__:
                default = "" if field.is_required() else f" = {_value(field.default)}"
                yield name, f"{name}: {cls.__annotations__[name]}{default}"


def _signature(name: str, function: Any) -> str:
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    abstract = "abstract " if getattr(function, "__isabstractmethod__", False) else ""
    plain = inspect.signature(function)
    parameters = [
        one if one.annotation is one.empty else one.replace(annotation=_Raw(one.annotation))
        for one in plain.parameters.values()
    ]
    signature = plain.replace(
        parameters=parameters, return_annotation=_Raw(plain.return_annotation)
    )
    return f"{abstract}{kind} {name}{signature}"


def _value(value: Any) -> str:
    return value.__name__ if callable(value) else repr(value)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        SNAPSHOT.write_text(contract_text())
    else:
        sys.stdout.write(contract_text())
