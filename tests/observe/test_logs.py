"""The log: what lines say, what they never say, and that nobody waits for them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from one_api.deployment import Deployment
from one_api.errors import InternalError, ModelNotFound
from one_api.events import Usage
from one_api.observe import Exchange, Observers
from one_api.observe.access_log import AccessLog
from one_api.observe.log_road import LogRoad
from one_api.observe.logs import LogFormat, Message, QueueingHandler, new_formatter
from one_api.observe.redactor import Redactor, escape, escape_json

PAGE = Path(__file__).parents[2] / "docs/logging.md"
DEPLOYMENT = Deployment(model="m", adapter="a", upstream_model="m-1")

Lines = Callable[[], list[str]]


class Opened:
    """A road that ends in memory."""

    def __init__(self, log_format: LogFormat, *, is_debug: bool = False) -> None:
        self._stream = io.StringIO()
        self.road = LogRoad(log_format, is_debug=is_debug, stream=self._stream)

    @property
    def text(self) -> str:
        self.road.handler.flush()
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def open_road() -> Iterator[Callable[..., Opened]]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    opened: list[Opened] = []

    def start(log_format: LogFormat = "json", *, is_debug: bool = False) -> Opened:
        opened.append(Opened(log_format, is_debug=is_debug))
        return opened[-1]

    yield start
    for one in opened:
        one.road.close()
    root.handlers[:], root.level = handlers, level
    logging.getLogger("alembic").setLevel(logging.NOTSET)


def ended(status: int = 200, **facts: Any) -> Exchange:
    exchange = Exchange(Observers([AccessLog()]), "req_1", endpoint="/v1/chat/completions")
    for name, value in facts.items():
        setattr(exchange, name, value)
    if status != 404:
        exchange.end_attempt(exchange.ask(DEPLOYMENT))
        exchange.note_first_content()
    exchange.note_finished()
    exchange.end(status)
    return exchange


def rich() -> Exchange:
    """Something to tell in every field."""

    class Trace:
        trace_id = "0af7651916cd43dd8448eb211c80319c"

    usage = Usage(prompt_tokens=11, completion_tokens=7, cached_tokens=3)
    return ended(
        span=Trace(),
        key_id="key_1",
        model="m",
        usage=usage,
        cost_microusd=1_250_000,
        cache="hit",
        error=InternalError("oops"),
    )


def test_a_request_is_one_line_with_all_that_is_known(open_road: Callable[..., Opened]) -> None:
    opened = open_road()
    rich()

    (line,) = opened.lines
    times = {name: line.pop(name) for name in ("first_content_ms", "total_ms", "overhead_ms")}
    assert all(0 <= time < 1_000 for time in times.values())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("timestamp"))
    assert {
        "level": "info",
        "logger": "one_api.requests",
        "event": "request",
        "request_id": "req_1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "key_id": "key_1",
        "method": "POST",
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "deployment": "a/m-1",
        "attempts": 1,
        "status": 200,
        "error": "internal_error",
        "stream": False,
        "cache": "hit",
        "prompt_tokens": 11,
        "cached_tokens": 3,
        "completion_tokens": 7,
        "reasoning_tokens": 0,
        "usage_estimated": False,
        "cost_usd": 1.25,
    } == line


def test_the_page_names_the_fields_of_a_line(open_road: Callable[..., Opened]) -> None:
    opened = open_road()
    rich()

    told = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M)
    assert told == list(opened.lines[0])


@pytest.mark.parametrize(
    ("status", "endpoint", "level"),
    [
        (200, "/v1/chat/completions", "info"),
        (404, "/v1/models", "info"),
        (499, "/v1/chat/completions", "info"),
        (502, "/v1/chat/completions", "warning"),
        (200, "/health", "debug"),
        (200, "/health/ready", "debug"),
        (200, "/v1/metrics", "debug"),
        (403, "/metrics", "info"),
        (503, "/health/ready", "warning"),
    ],
)
def test_how_loud_a_request_is(
    open_road: Callable[..., Opened], status: int, endpoint: str, level: str
) -> None:
    opened = open_road(is_debug=True)
    ended(status, endpoint=endpoint)

    assert [level] == [line["level"] for line in opened.lines]


def test_probes_are_quiet(open_road: Callable[..., Opened]) -> None:
    opened = open_road()
    ended(endpoint="/health")

    assert [] == opened.lines


def test_what_was_not_asked_is_not_told(open_road: Callable[..., Opened]) -> None:
    opened = open_road()
    ended(404, error=ModelNotFound("no such model"))

    (line,) = opened.lines
    assert {"deployment", "attempts", "cost_usd", "cache", "model", "key_id"}.isdisjoint(line)


NASTY = "a\nb\r\x1b[31m\x9b\x7f\u202e\u2066\u200b\ufeff\ud800\U000e0041"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_a_client_says_steers_or_forges(
    open_road: Callable[..., Opened], log_format: LogFormat
) -> None:
    opened = open_road(log_format)
    ended(model=NASTY)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logging.getLogger("one_api.x").exception("failed on %s", NASTY)

    text = opened.text
    assert not set(NASTY) & set(text) - set("\nab[31m")
    if log_format == "json":
        assert 2 == len(text.splitlines())
        assert NASTY[:-2] == opened.lines[0]["model"][: len(NASTY) - 2]
    else:
        starts = [line for line in text.splitlines() if not line.startswith("    ")]
        assert 2 == len(starts)
        assert all(re.match(r"\d{4}-", line) for line in starts)


@given(st.text())
def test_escaping_json_changes_no_meaning(text: str) -> None:
    told = orjson.dumps(text.encode("utf-8", "backslashreplace").decode()).decode()
    escaped = escape_json(told)

    assert json.loads(told) == json.loads(escaped)
    assert escape(escaped) == escaped


@given(st.text())
def test_escaped_text_is_safe_and_escaping_it_again_changes_nothing(text: str) -> None:
    assert escape(escape(text)) == escape(text)
    assert "\n" not in escape(text)


CANARY = "0canary0secret"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Basic {CANARY}'}}",
        f"('x-api-key', '{CANARY}')",
        f'"x-api-key": "{CANARY}"',
        f"(b'authorization', b'Bearer {CANARY}')",
        f"X-Goog-Api-Key={CANARY}",
        f"https://h/v1/models?key={CANARY}&x=1",
        f"https://h/?x=1&sig={CANARY}",
        f"postgresql://user:{CANARY}@host/db",
        f"password={CANARY}",
        f"Set-Cookie: {CANARY}",
        f"api_key='{CANARY}'",
    ],
)
def test_secrets_are_known_by_their_place(text: str) -> None:
    clean = Redactor().redact(text)

    assert CANARY not in clean
    assert "[redacted]" in clean


@pytest.mark.parametrize(
    "text", ["the key is wrong", "tokens: 11", "https://host/v1/chat", "a password is needed"]
)
def test_words_stay(text: str) -> None:
    assert text == Redactor().redact(text)


def test_what_was_learned_is_never_told_again() -> None:
    redactor = Redactor()
    assert f"a {CANARY} b" == redactor.redact(f"a {CANARY} b")
    redactor.learn([CANARY, "pass/word+1", "a", ""])
    redactor.learn([f"{CANARY}-and-longer"])

    assert "a [redacted] b" == redactor.redact(f"a {CANARY} b")
    assert "[redacted]" == redactor.redact(f"{CANARY}-and-longer")
    assert "[redacted]" == redactor.redact("pass%2Fword%2B1")


def test_libraries_are_heard_from_info_on_and_ours_in_detail(
    open_road: Callable[..., Opened],
) -> None:
    opened = open_road(is_debug=True)
    logging.getLogger("aiosqlite").debug("executing with a body")
    logging.getLogger("one_api.adapters.x").debug("in detail")
    logging.getLogger("library").info("a library")

    assert ["in detail", "a library"] == [line["event"] for line in opened.lines]


def test_structlog_warnings_and_threads_take_the_same_road(
    open_road: Callable[..., Opened],
) -> None:
    opened = open_road()
    structlog.get_logger("theirs").info("bound %d", 1, value={"x-api-key": "sk-1234567"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("a warning", UserWarning, stacklevel=1)

    def fail() -> None:
        raise LookupError("in a thread")

    thread = threading.Thread(target=fail, name="failing")
    thread.start()
    thread.join()

    told = opened.lines
    assert ["theirs", "py.warnings", "one_api.observe.log_road"] == [
        line["logger"] for line in told
    ]
    assert "bound 1" == told[0]["event"]
    assert {"x-api-key": "[redacted]"} == told[0]["value"]
    assert "LookupError: in a thread" in told[2]["exception"]


@pytest.mark.slow
def test_structlog_is_led_when_it_is_imported_and_not_before() -> None:
    program = """
import sys
from one_api.observe.log_road import open_road
open_road("json")
print("structlog" in sys.modules)
import structlog
structlog.get_logger("theirs").info("bound %d", 1, value={"x-api-key": "sk-1234567"})
print(structlog.__spec__.loader.is_package("structlog"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=30
    )

    assert [b"False", b"True"] == done.stdout.split()
    told = json.loads(done.stderr)
    assert ("theirs", "bound 1") == (told["logger"], told["event"])
    assert {"x-api-key": "[redacted]"} == told["value"]


def test_a_mapping_that_is_logged_is_a_text(open_road: Callable[..., Opened]) -> None:
    opened = open_road()
    logging.getLogger("library").info({"event": "theirs", "": 1})

    assert ["{'event': 'theirs', '': 1}"] == [line["event"] for line in opened.lines]


def test_whoever_logs_never_waits_and_what_is_lost_is_counted() -> None:
    is_open = threading.Event()
    written: list[str] = []

    def write(text: str) -> None:
        is_open.wait(10)
        written.append(text)

    handler = QueueingHandler(write, max_waiting=5)
    handler.setFormatter(new_formatter("json"))
    logger = logging.Logger("blocked")  # noqa: LOG001 - kept apart
    logger.addHandler(handler)
    for number in range(500):
        logger.info("record %d", number)

    assert handler.dropped >= 490
    is_open.set()
    handler.flush()
    logger.info("afterwards")
    handler.stop()
    lines = [json.loads(line) for line in "".join(written).splitlines()]
    losses = [line for line in lines if "are lost" in line["event"]]
    assert {"warning"} == {line["level"] for line in losses}
    assert handler.dropped == sum(int(line["event"].split()[0]) for line in losses)
    assert "afterwards" in [line["event"] for line in lines]
    assert 501 == handler.dropped + len(lines) - len(losses)


def test_a_record_is_told_as_it_was_when_it_was_logged() -> None:
    written: list[str] = []
    handler = QueueingHandler(written.append)
    handler.setFormatter(new_formatter("json"))
    logger = logging.Logger("changing")  # noqa: LOG001 - kept apart
    logger.addHandler(handler)
    words = ["before"]
    logger.info("%s", words)
    words[0] = "after"
    handler.stop()

    assert "['before']" == json.loads("".join(written))["event"]


def test_one_record_that_cannot_be_told_costs_no_other() -> None:
    class Broken(Message):
        @override
        def fields(self) -> dict[str, object]:
            raise LookupError("no fields")

    written: list[str] = []
    handler = QueueingHandler(written.append)
    handler.setFormatter(new_formatter("json"))
    logger = logging.Logger("broken")  # noqa: LOG001 - kept apart
    logger.addHandler(handler)
    logger.handle(logging.LogRecord("broken", logging.INFO, "", 0, Broken(), None, None))
    logger.info("fine")
    handler.stop()

    first, second = "".join(written).splitlines()
    assert "a log record of broken cannot be told: LookupError" == first
    assert "fine" == json.loads(second)["event"]


def run(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


def test_the_last_words_of_a_process_are_written_without_what_they_quote() -> None:
    done = run(
        "from one_api.observe.log_road import open_road\n"
        "open_road('json')\n"
        "raise RuntimeError('x-api-key: 0canary0secret')\n"
    )

    line = json.loads(done.stderr)
    assert 1 == done.returncode
    assert "critical" == line["level"]
    assert "RuntimeError: x-api-key: [redacted]" in line["exception"]


@pytest.mark.slow
def test_a_process_whose_reader_is_stuck_ends_all_the_same() -> None:
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import logging\n"
                "from one_api.observe.log_road import open_road\n"
                "open_road('json')\n"
                "for _ in range(3000): logging.warning('x' * 1000)\n"
                "print('done', flush=True)\n",
            ],
            stdout=subprocess.PIPE,
            stderr=writing,
        )
        out, _ = child.communicate(timeout=20)
    finally:
        os.close(writing)
        os.close(reading)

    assert (0, b"done\n") == (child.returncode, out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(
            "fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
        ),
        "spawn",
    ],
)
def test_the_last_words_of_a_child_are_written(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import logging, multiprocessing\n"
        "from one_api.observe.log_road import open_road\n"
        "def speak():\n"
        f"    if {method!r} == 'spawn': open_road('json')\n"
        "    for number in range(300): logging.info('word %d', number)\n"
        "if __name__ == '__main__':\n"
        "    open_road('json')\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=speak)\n"
        "    child.start(); child.join()\n"
    )
    done = run(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')")

    assert [f"word {number}" for number in range(300)] == [
        json.loads(line)["event"] for line in done.stderr.splitlines()
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_writes_its_log() -> None:
    done = run(
        "import logging, os, warnings\n"
        "from one_api.observe.log_road import open_road\n"
        # From Python 3.12 on, to fork a process that has threads is warned of.
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "road = open_road('json')\n"
        "logging.warning('parent')\n"
        "road.handler.flush()\n"
        "if os.fork():\n"
        "    os.wait()\n"
        "else:\n"
        "    logging.warning('child')\n"
    )

    assert ["parent", "child"] == [json.loads(line)["event"] for line in done.stderr.splitlines()]
