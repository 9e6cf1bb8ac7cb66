"""What is told of a file that is wrong, to the letter."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from one_api.deployment import Timeouts
from one_api.errors import ConfigurationError
from one_api.upstreams_file import read_upstreams
from tests.upstreams_file.files import error_of

FIELDS = (
    "known are: name, adapter, sk, endpoint, timeout, timeouts, options, models, model_map, "
    "group, weight, order, limits, breaker, price, context_window, on_hang_up, probe, "
    "api_key, base_url"
)
NAME = "must be a name: 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
PRICE = "must be a number of US dollars per million tokens, 0 or greater"
REFERENCE = "'${' begins no ${VARIABLE} or ${VARIABLE:-default}; a plain '${' is written '$${'"

FILES: list[tuple[str, str, str]] = [
    # The file as such
    ("empty", "", ": is empty; a list of 'upstreams' is expected"),
    ("comment", "# nothing\n", ": is empty; a list of 'upstreams' is expected"),
    ("null", "---\n", ": is empty; a list of 'upstreams' is expected"),
    ("list", "\n- sk: a\n", ":2: must be a mapping of fields"),
    ("text", "sk", ":1: must be a mapping of fields"),
    ("two_documents", "upstreams: []\n---\nupstreams: []\n",
     ":2: is not valid YAML: expected a single document in the stream, but found another document"),
    ("tab", "upstreams:\n\t- sk: a\n",
     ":2: is not valid YAML: while scanning for the next token, found character '\\t' that cannot "
     "start any token"),
    ("not_closed", "aliases:\n  a: 'b\n",
     ":3: is not valid YAML: while scanning a quoted scalar, found unexpected end of stream"),
    ("star", "upstreams:\n  - models: [a, *b-c]\n",
     ":2: is not valid YAML: found undefined alias '...' (text that begins with * needs quotes)"),
    ("variable_between_braces", "upstreams:\n  - {sk: ${KEY}}\n",
     ":2: is not valid YAML: while parsing a flow mapping, expected ',' or '}', but got '{' "
     '(between brackets, "${VARIABLE}" needs quotes)'),
    ("no_such_character", 'aliases:\n  a: "\\U00110000"\n',
     ":2: is not valid YAML: an escape or a number is out of range"),
    ("python_object", "upstreams: !!python/object/apply:os.system [ls]",
     ":1: upstreams: has a YAML tag that means nothing here"),
    ("tag_of_ones_own", "upstreams:\n  - sk: !vault abc",
     ":2: upstreams[0].sk: has a YAML tag that means nothing here"),
    # Names of fields
    ("unknown_at_top", "upstream:\n  - sk: a",
     ":1: upstream: unknown field; did you mean 'upstreams'?"),
    ("unknown_far_off", "server: a",
     ":1: server: unknown field; known are: authorization, groups, aliases, upstreams"),
    ("unknown_in_entry", "upstreams:\n  - sk: a\n    endpont: b",
     ":3: upstreams[0].endpont: unknown field; did you mean 'endpoint'?"),
    ("capitals", "upstreams:\n  - SK: a", ":2: upstreams[0].SK: unknown field; did you mean 'sk'?"),
    ("no_field_at_all", "upstreams:\n  - abcDEF012345: a",
     f":2: upstreams[0]: unknown field; {FIELDS}"),
    ("twice", "upstreams:\n  - sk: a\n    name: b\n    sk: c",
     ":4: upstreams[0].sk: is given twice, first on line 2"),
    ("twice_alias", "aliases:\n  'a b': c\n  'a b': d",
     ":3: aliases.?: is given twice, first on line 2"),
    ("two_names", "upstreams:\n  - sk: a\n    api_key: b",
     ":3: upstreams[0].api_key: says the same as upstreams[0].sk on line 2; give one of the two"),
    ("two_names_of_timeout", "upstreams:\n  - timeouts: {first_token: 1,\n      first_content: 2}",
     ":3: upstreams[0].timeouts.first_content: says the same as upstreams[0].timeouts.first_token "
     "on line 2; give one of the two"),
    ("list_as_name", "upstreams:\n  - [sk]: a", ":2: upstreams[0]: a name must be text"),
    ("empty_name", "aliases:\n  '': a",
     ":2: aliases: a name must not be empty, and ${VARIABLE}s are filled into values only"),
    ("variable_in_name", "aliases:\n  ${KEY}: a",
     ":2: aliases: a name must not be empty, and ${VARIABLE}s are filled into values only"),
    ("merged_text", "upstreams:\n  - <<: a", ":2: upstreams[0]: '<<' takes mappings only"),
    ("merged_circle", "upstreams:\n  - &a {<<: *a}",
     ":2: upstreams[0]: '<<' brings in mappings in a circle, or too many of them"),
    # authorization
    ("authorization_short", "authorization: [long-enough,\n  short]",
     ":2: authorization[1]: must be at least 8 characters long"),
    ("authorization_number", "authorization: 1234567890",
     ":1: authorization: must be text: put it in quotes"),
    ("authorization_space", "authorization: two words",
     ":1: authorization: must be ASCII characters without white space"),
    ("authorization_accent", "authorization: clé-secrète",
     ":1: authorization: must be ASCII characters without white space"),
    ("authorization_mapping", "authorization: {a: b}", ":1: authorization: must be text"),
    ("authorization_none", "authorization: []", ":1: authorization: must not be an empty list"),
    # groups
    ("groups_list", "groups: [a]", ":1: groups: must be a mapping of fields"),
    ("group_name", "groups:\n  a/b: {}", f":2: groups.a/b: {NAME}"),
    ("strategy", "groups:\n  a:\n    strategy: best",
     ":3: groups.a.strategy: must be one of ordered, weighted, round_robin, least_busy, "
     "lowest_latency, lowest_cost"),
    ("after_commit", "groups: {a: {after_commit: true}}",
     ":1: groups.a.after_commit: must be one of error, continue"),
    ("sticky", "groups: {a: {sticky: 1}}", ":1: groups.a.sticky: must be true or false"),
    ("breaker_of_a_group", "groups:\n  a:\n    breaker: {cooldown: soon}",
     ":3: groups.a.breaker.cooldown: must be a number of seconds from 0.001 to 86400"),
    ("sticky_quoted", "groups: {a: {sticky: 'true'}}",
     ":1: groups.a.sticky: must be true or false"),
    ("group_unknown", "groups: {a: {order: 1}}",
     ":1: groups.a.order: unknown field; known are: strategy, after_commit, sticky, "
     "breaker, probe"),
    ("probe_of_a_group", "groups: {a: {probe: 5}}",
     ":1: groups.a.probe: must be true or false"),
    # aliases
    ("alias_of_itself", "aliases:\n  a: [b, a]", ":2: aliases.a: leads back to itself"),
    ("alias_circle", "aliases:\n  x: a\n  a: [z, b]\n  b: c\n  c: a",
     ":3: aliases.a: leads back to itself through 'b'"),
    ("alias_to_pattern", "aliases: {a: 'b-*'}",
     ":1: aliases.a: must be the name of one model: '*' means nothing here"),
    ("alias_twice", "aliases: {a: [b, b]}", ":1: aliases.a[1]: is the same as aliases.a[0]"),
    ("alias_to_nothing", "aliases: {a: }",
     ":1: aliases.a: has no value; give it one, or leave it out"),
    ("alias_to_list_of_lists", "aliases: {a: [[b]]}", ":1: aliases.a[0]: must be text"),
    ("alias_with_space", "aliases: {a: 'b c'}",
     ":1: aliases.a: must be the name of a model, without white space"),
    ("alias_of_number", "aliases: {a: 4}", ":1: aliases.a: must be text: put it in quotes"),
    # upstreams
    ("upstreams_mapping", "upstreams: {sk: a}", ":1: upstreams: must be a list"),
    ("upstreams_null", "upstreams:", ":1: upstreams: has no value; give it one, or leave it out"),
    ("entry_text", "upstreams:\n  - sk:secret", ":2: upstreams[0]: must be a mapping of fields"),
    ("entry_null", "upstreams:\n  -\n",
     ":2: upstreams[0]: has no value; give it one, or leave it out"),
    ("same_name", "upstreams:\n  - name: a\n  - name: b\n  - name: a",
     ":4: upstreams[2]: has the same name as upstreams[0] on line 2"),
    ("name_from_position", "upstreams:\n  - name: upstream-2\n  - sk: a",
     ":3: upstreams[1]: has the same name as upstreams[0] on line 2"),
]  # fmt: skip

ENTRIES: list[tuple[str, str, str]] = [
    ("name_slash", "name: a/b", f"name: {NAME}"),
    ("name_long", f"name: {'a' * 65}", f"name: {NAME}"),
    ("name_dot_first", "name: .a", f"name: {NAME}"),
    ("name_line_end", 'name: "a\\n"', "name: must be one line of printable characters"),
    ("name_empty", "name: ''", "name: must not be empty"),
    ("adapter_list", "adapter: [a]", "adapter: must be text"),
    ("sk_null", "sk:", "sk: has no value; give it one, or leave it out"),
    ("sk_number", "sk: 12345678", "sk: must be text: put it in quotes"),
    ("sk_flag", "sk: yes", "sk: must be text: put it in quotes"),
    ("sk_list", "sk: [a]", "sk: must be text"),
    ("sk_lines", "sk: ${LINES}", "sk: must be one line of printable characters"),
    ("sk_space", "sk: a b", "sk: must be ASCII characters without white space"),
    ("sk_empty_default", "sk: ${ABSENT:-}", "sk: must not be empty"),
    ("endpoint_number", "endpoint: 1.5", "endpoint: must be text: put it in quotes"),
    ("variable_absent", "sk: ${ABSENT}", "sk: the variable ABSENT is not set, or empty"),
    ("variable_empty", "sk: a${EMPTY}", "sk: the variable EMPTY is not set, or empty"),
    ("variable_open", "sk: a${KEY", f"sk: {REFERENCE}"),
    ("variable_unnamed", "sk: a${}", f"sk: {REFERENCE}"),
    ("variable_odd", "sk: ${KEY-default}", f"sk: {REFERENCE}"),
    ("variable_nested", "sk: ${ABSENT:-${KEY}}", f"sk: {REFERENCE}"),
    ("timeout_zero", "timeout: 0", "timeout: must be a number of seconds greater than 0"),
    ("timeout_negative", "timeout: -1", "timeout: must be a number of seconds greater than 0"),
    ("timeout_text", "timeout: 30s", "timeout: must be a number of seconds greater than 0"),
    ("timeout_quoted", "timeout: '30'", "timeout: must be a number of seconds greater than 0"),
    ("timeout_flag", "timeout: true", "timeout: must be a number of seconds greater than 0"),
    ("timeout_list", "timeout: [1]", "timeout: must be a number of seconds greater than 0"),
    ("timeout_infinite", "timeout: .inf", "timeout: must be a number of seconds greater than 0"),
    ("timeout_huge", "timeout: 1e999", "timeout: must be a number of seconds greater than 0"),
    ("timeout_nan", "timeout: .nan", "timeout: must be a number of seconds greater than 0"),
    ("timeout_clock", "timeout: 1:30", "timeout: must be a number of seconds greater than 0"),
    ("timeout_octal", "timeout: 030", "timeout: must be a number of seconds greater than 0"),
    ("timeout_variable", "timeout: ${KEY}", "timeout: must be a number of seconds greater than 0"),
    ("timeouts_number", "timeouts: 5", "timeouts: must be a mapping of fields"),
    ("timeouts_idle", "timeouts: {idle: 0}",
     "timeouts.idle: must be a number of seconds greater than 0"),
    ("timeouts_unknown", "timeouts: {read: 1}",
     "timeouts.read: unknown field; known are: connect, first_content, idle, total, first_token"),
    ("options_nested", "options: {a: {b: c}}",
     "options.a: must be text, a number, or true or false"),
    ("options_key", "options: {api_key: a}",
     "options.api_key: is no option: give it as 'sk' of the entry"),
    ("models_none", "models: []", "models: must not be an empty list"),
    ("models_twice", "models: [a, b, a]", "models[2]: is the same as upstreams[1].models[0]"),
    ("models_number", "models: [1.5]", "models[0]: must be text: put it in quotes"),
    ("models_long", f"models: [{'a' * 257}]",
     "models[0]: must be the name of a model, without white space"),
    ("model_map_list", "model_map: [a]", "model_map: must be a mapping of fields"),
    ("model_map_pattern", "model_map: {'a*': b}",
     "model_map.a*: must be the name of one model: '*' means nothing here"),
    ("model_map_to_pattern", "model_map: {a: 'b*'}",
     "model_map.a: must be the name of one model: '*' means nothing here"),
    ("group", "group: a b", f"group: {NAME}"),
    ("weight_negative", "weight: -0.1", "weight: must be a number, 0 or greater"),
    ("weight_infinite", "weight: .inf", "weight: must be a number, 0 or greater"),
    ("order_fraction", "order: 1.5", "order: must be a whole number"),
    ("order_long", f"order: {'9' * 5000}", "order: must be a whole number"),
    ("order_flag", "order: no", "order: must be a whole number"),
    ("limit_zero", "limits: {concurrent_requests: 0}",
     "limits.concurrent_requests: must be a whole number, 1 or greater"),
    ("limit_unknown", "limits: {request_per_minute: 1}",
     "limits.request_per_minute: unknown field; did you mean 'requests_per_minute'?"),
    ("breaker_number", "breaker: 5", "breaker: must be a mapping of fields"),
    ("breaker_unknown", "breaker: {failure: 5}",
     "breaker.failure: unknown field; did you mean 'failures'?"),
    ("breaker_failures", "breaker: {failures: 0}",
     "breaker.failures: must be a whole number, 1 or greater"),
    ("breaker_ratio_none", "breaker: {ratio: 0}",
     "breaker.ratio: must be a number greater than 0, up to 1"),
    ("breaker_ratio_percent", "breaker: {ratio: 50}",
     "breaker.ratio: must be a number greater than 0, up to 1"),
    ("breaker_requests", "breaker: {min_requests: 1.5}",
     "breaker.min_requests: must be a whole number, 1 or greater"),
    *(
        (f"breaker_{field}", f"breaker: {{{field}: {value}}}",
         f"breaker.{field}: must be a number of seconds from 0.001 to 86400")
        for field, value in (("window", 0), ("cooldown", -1), ("max_cooldown", 86_401))
    ),
    ("breaker_growth", "breaker: {growth: 0.5}", "breaker.growth: must be a number from 1 to 10"),
    ("price_number", "price: 1",
     "price: must be a mapping with 'input' and 'output', or one by model of such"),
    ("price_half", "price: {input: 1}", "price: 'output' is missing"),
    ("price_empty", "price: {}", "price: 'input' is missing"),
    ("price_negative", "price: {input: -1, output: 1}", f"price.input: {PRICE}"),
    ("price_exponent", "price: {input: 1e-6, output: 1}", f"price.input: {PRICE}"),
    ("price_text", "price: {input: free, output: 1}", f"price.input: {PRICE}"),
    ("price_nan", "price: {input: .nan, output: 1}", f"price.input: {PRICE}"),
    ("price_mixed", "price: {input: 1, output: {m: 1}}", f"price.output: {PRICE}"),
    ("price_of_model", "price: {m: {input: 1}}", "price.m: 'output' is missing"),
    ("tiers_no_list", "price: {input: 1, output: 1, tiers: {input: 1}}",
     "price.tiers: must be a list"),
    ("tier_half", "price: {input: 1, output: 1, tiers: [{above_input_tokens: 9, input: 1}]}",
     "price.tiers[0]: 'output' is missing"),
    ("tier_of_all", "price: {input: 1, output: 1, tiers: [{input: 1, output: 1}]}",
     "price.tiers[0]: 'above_input_tokens' is missing"),
    ("tiers_out_of_order",
     "price: {input: 1, output: 1, tiers: [{above_input_tokens: 9, input: 1, output: 1}, "
     "{above_input_tokens: 9, input: 1, output: 1}]}",
     "price.tiers[1]: 'above_input_tokens' must be more than in the one before"),
    ("price_of_pattern", "price: {'m*': {input: 1, output: 1}}",
     "price.m*: must be the name of one model: '*' means nothing here"),
    ("on_hang_up_wrong", "on_hang_up: wait",
     "on_hang_up: must be one of cancel, drain"),
    ("probe_wrong", "probe: 30", "probe: must be true or false"),
    ("context_window_zero", "context_window: 0",
     "context_window: must be a whole number of tokens, 1 or greater"),
    ("context_window_suffix", "context_window: 128k",
     "context_window: must be a whole number of tokens, 1 or greater"),
    ("context_window_of_model", "context_window: {m: 1.0}",
     "context_window.m: must be a whole number of tokens, 1 or greater"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in FILES], ids=[case[0] for case in FILES]
)
def test_an_error_names_file_line_and_field(text: str, expected: str, tmp_path: Path) -> None:
    assert f"UPSTREAMS_FILE: upstreams.yaml{expected}" == error_of(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in ENTRIES], ids=[case[0] for case in ENTRIES]
)
def test_an_error_in_an_entry_names_its_field(text: str, expected: str, tmp_path: Path) -> None:
    file = f"upstreams:\n  - name: first\n  -\n    # next\n    {text}\n"
    place = "upstreams[1]" if expected.startswith("'") else "upstreams[1]."
    assert f"UPSTREAMS_FILE: upstreams.yaml:5: {place}{expected}" == error_of(file, tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"aliases:\n  a: \xff\n", ":2: is not UTF-8 text"),
        ("upstreams: []".encode("utf-16"), ":1: is not UTF-8 text"),
        (b"aliases:\n  a: '\x00'\n", ":2: holds a control character"),
        (b"#" * 1_000_001, ": is larger than 1,000,000 bytes"),
        (b"[" * 1_000, ":1: is not valid YAML: nested deeper than allowed"),
    ],
    ids=["latin_1", "utf_16", "nul", "large", "deep"],
)
def test_what_is_hardly_a_file_of_ours(content: bytes, expected: str, tmp_path: Path) -> None:
    assert f"UPSTREAMS_FILE: upstreams.yaml{expected}" == error_of(content, tmp_path)


def test_a_file_of_many_values_is_refused(tmp_path: Path) -> None:
    problem = "is not valid YAML: more values than allowed"
    text = "- \n" * 50_001
    assert f"UPSTREAMS_FILE: upstreams.yaml:50001: {problem}" == error_of(text, tmp_path)


def test_a_short_file_that_stands_for_many_values_is_refused(tmp_path: Path) -> None:
    models = ",".join(f"m{number}" for number in range(500))
    text = f"upstreams:\n- &a {{models: [{models}]}}\n" + "- *a\n" * 200
    problem = "stands for more than 50,000 values"
    assert f"UPSTREAMS_FILE: upstreams.yaml:2: {problem}" == error_of(text, tmp_path)


def test_merges_that_multiply_are_refused(tmp_path: Path) -> None:
    bombs = "".join(f"- &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 10)}]}}\n" for n in range(15))
    error = error_of(f"upstreams:\n- &a0 {{weight: 1}}\n{bombs}", tmp_path)
    assert "UPSTREAMS_FILE: upstreams.yaml:2: stands for more than 50,000 values" == error


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(ConfigurationError) as caught:
        read_upstreams(path, {}, timeouts=Timeouts())
    assert f"UPSTREAMS_FILE: {path}: there is no such file" == str(caught.value)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_upstreams(tmp_path, {}, timeouts=Timeouts())


def test_a_path_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a path"):
        read_upstreams(tmp_path / "a\0b", {}, timeouts=Timeouts())


@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
@pytest.mark.parametrize(
    ("text", "mode", "is_told"),
    [
        ("upstreams: [{sk: literal}]", 0o644, True),
        ("upstreams: [{sk: literal}]", 0o640, True),
        ("authorization: literal-key", 0o604, True),
        ("upstreams: [{sk: literal}]", 0o600, False),
        ('upstreams: [{sk: "${KEY}"}]', 0o644, False),
        ("upstreams: [{name: a}]", 0o644, False),
    ],
    ids=["all", "group", "authorization", "owner_only", "variable", "no_key"],
)
def test_keys_that_others_can_read_are_told(
    text: str, mode: int, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "upstreams.yaml"
    path.write_text(text)
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        read_upstreams(path, {"KEY": "from-environment"}, timeouts=Timeouts())
    warning = (
        f"{path} holds keys, and other accounts of this machine can read it: chmod 600 it, or "
        "take the keys from variables (${NAME})"
    )
    assert [warning] * is_told == caplog.messages
