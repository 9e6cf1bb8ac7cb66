"""No error tells a value: it may be a secret, wherever it stands."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from one_api.errors import ConfigurationError
from tests.upstreams_file.files import read

CANARY = "Canary7Q2w9-in-the-file"
KEY_LIKE = "sk-canary-0123456789abcdef"
PLACES = (
    """\
authorization: @
groups: {a: @}
groups: {a: {strategy: @}}
groups: {a: {after_commit: @}}
groups: {a: {sticky: @}}
groups: {a: {probe: @}}
aliases: @
aliases: {a: @}
aliases: {a: [b, @]}
aliases: {@: [@]}
upstreams: @
upstreams: [@]
upstreams: [{@: a}]
@: a
""".splitlines()
    + [
        f"upstreams: [{{{entry}}}]"
        for entry in """\
name: @
adapter: @
sk: @
api_key: @
endpoint: @
sk: @, sk: @
sk: @, api_key: @
timeout: @
timeouts: @
timeouts: {idle: @}
options: @
options: {a: [@]}
options: {sk: @}
models: @
models: [@, @]
model_map: @
model_map: {a: @}
group: @
weight: @
probe: @
order: @
limits: @
limits: {requests_per_minute: @}
breaker: @
breaker: {failures: @}
breaker: {@: 1}
price: @
price: {input: @}
price: {input: @, output: 1}
price: {a: {input: @, output: 1}}
context_window: @
context_window: {a: @}
""".splitlines()
    ]
)
FORMS = [
    "#", "'#", '"#', "'# #'", "[#, #]", "[[#]]", "{# #}", "{a: #}", "*#", "&# a", "!# a", "!#!# a",
    "!<#> a", "%#", "`#", "|#", "#: #", "'${#'", "'${#}'", "'${A:-${#}}'", "'#\\n'", '"#\\n"',
    '"\\#"', '"\\x#"', "'$${#'", "'${SECRET}'", "'${SECRET} ${ABSENT}'", "'${LINES}'",
]  # fmt: skip


def files_with_canaries() -> Iterator[tuple[str, str]]:
    """Each place of a file filled in each form, and what must not be told of it."""
    for place in PLACES:
        for form in FORMS:
            # A variable's name is told, and is no secret.
            secret = KEY_LIKE if "{# " in form or "@:" in place else CANARY
            yield place.replace("@", form.replace("#", secret)), secret
        yield place.replace("@", f"{{? {KEY_LIKE} : {KEY_LIKE}}}"), KEY_LIKE


def error_of(text: str, directory: Path, environment: dict[str, str]) -> str:
    """What is told of a file of `text` and, with it, of all errors behind the error."""
    try:
        read(text, directory, environment)
    except ConfigurationError as exc:
        return "".join(traceback.format_exception_only(exc)) + repr(vars(exc)) + repr(exc.__cause__)
    return ""


def test_no_error_tells_a_value(tmp_path: Path) -> None:
    environment = {"SECRET": CANARY, "LINES": f"{CANARY}\n{CANARY}"}
    told = {
        (text, secret): error
        for text, secret in files_with_canaries()
        if (error := error_of(text, tmp_path, environment))
    }
    assert [] == [
        (text, error)
        for (text, secret), error in told.items()
        if secret in error or CANARY in error
    ]
    assert len(told) > 700
