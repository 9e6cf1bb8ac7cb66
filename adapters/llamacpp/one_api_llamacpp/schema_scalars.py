"""The keywords of JSON Schema about strings and numbers, as GBNF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from one_api.adapter import JsonObject
from one_api_llamacpp.json_numbers import bounded_integer, bounded_number
from one_api_llamacpp.schema_keywords import Place, count

_DATE: Final = (
    "([1-9] [0-9]{3}) "
    '("-" ("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
    ' | "-" ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30")'
    ' | "-02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
)
_HOURS: Final = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME: Final = f'{_HOURS} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [+-] {_HOURS})'
_BYTE: Final = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9]? [0-9])'
_LABEL: Final = "[a-z0-9] ([a-z0-9-]{0,20} [a-z0-9])?"
#: Larger ones are not exact as doubles.
_LARGEST_BOUND: Final = 2**53
#: Each admits only strings of its format, if not all of them: no 29th of February.
_FORMATS: Final = {
    "date": _DATE,
    "date-time": f'{_DATE} "T" {_TIME}',
    "email": rf'[a-zA-Z0-9_+-]+ ("." [a-zA-Z0-9_+-]+)* "@" {_LABEL} ("." {_LABEL})+',
    "hostname": f'{_LABEL} ("." {_LABEL}){{0,5}}',
    "ipv4": f'{_BYTE} "." {_BYTE} "." {_BYTE} "." {_BYTE}',
    "time": _TIME,
    "uuid": 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
}


def string_body(schema: JsonObject, _: str, place: Place) -> str:
    """An expression for the strings that `schema` accepts.

    Raises: InvalidRequest for a format that is not known here, and for lengths that none has.
    """
    low = count(schema, "minLength", place)
    high = count(schema, "maxLength", place)
    form = schema.get("format")
    if form is not None:
        if not isinstance(form, str) or form not in _FORMATS:
            raise (place / "format").wrong(f"only {', '.join(sorted(_FORMATS))} can be enforced")
        if (low, high) != (None, None):
            raise (place / "format").wrong("it cannot be enforced together with a length")
        return rf'"\"" {_FORMATS[form]} "\""'
    if high is not None and (low or 0) > high:
        raise place.wrong("no string satisfies it")
    return rf'"\"" char{{{low or 0},{"" if high is None else high}}} "\""'


def number_body(schema: JsonObject, name: str, place: Place) -> str:
    """An expression for the numbers, or integers, that `schema` accepts.

    Raises: InvalidRequest for bounds that are no whole numbers, and for those that leave none.
    """
    low, excludes_low = _bound(schema, "minimum", "exclusiveMinimum", max, place)
    high, excludes_high = _bound(schema, "maximum", "exclusiveMaximum", min, place)
    if name == "integer":
        body = bounded_integer(
            None if low is None else low + excludes_low,
            None if high is None else high - excludes_high,
        )
    else:
        body = bounded_number(low, high, excludes_low=excludes_low, excludes_high=excludes_high)
    if not body:
        raise place.wrong("no number satisfies it")
    return body


def _bound(
    schema: JsonObject,
    inclusive: str,
    exclusive: str,
    tighter: Callable[..., tuple[int, bool]],
    place: Place,
) -> tuple[int | None, bool]:
    """The tighter of two bounds, and whether it is excluded itself."""
    found: list[tuple[int, bool]] = []
    for key in (inclusive, exclusive):
        value = schema.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise (place / key).wrong("a number is needed here")
        if value != int(value) or abs(value) > _LARGEST_BOUND:
            raise (place / key).wrong("only bounds that are whole numbers can be enforced")
        found.append((int(value), key == exclusive))
    if not found:
        return None, False
    # Of two equal bounds the excluding one is tighter.
    return tighter(found, key=lambda bound: (bound[0], bound[1] == (tighter is max)))
