"""Settings: every variable, every wrong value, and which source wins."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from one_api.deployment import Timeouts
from one_api.errors import ConfigurationError
from one_api.settings import Settings, environment, expected_form, explain
from one_api_claude.settings import ClaudeSettings
from one_api_echo import EchoSettings
from one_api_gemini import GeminiSettings
from one_api_llamacpp.settings import LocalSettings
from one_api_ollama import OllamaSettings
from one_api_openai.adapter import settings_of, variable_prefix
from one_api_openai.providers import PROVIDERS

EXAMPLE = Path(__file__).parent.parent / ".env.example"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
        monkeypatch.delenv(field, raising=False)


def write_env_file(**values: str) -> None:
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def plain(value: Any) -> Any:
    """`value` with its secrets shown."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def aliases(text: str) -> dict[str, tuple[str, ...]]:
    return dict(Settings.load(model_aliases=text).model_aliases)


VALUES: list[tuple[str, str, Any]] = [
    ("HOST", "::1", "::1"),
    ("PORT", "9000", 9000),
    ("WORKERS", "4", 4),
    ("DEBUG", "true", True),
    ("API_PREFIX", "openai/v1/", "/openai/v1"),
    ("CORS_ORIGINS", "https://a.example, http://b:3000,", ("https://a.example", "http://b:3000")),
    ("CORS_ORIGINS", "*", ("*",)),
    ("MAX_BODY_MB", "0.5", 0.5),
    ("BODY_TIMEOUT_S", "1.5", 1.5),
    ("DRAIN_TIMEOUT_S", "0", 0),
    ("MAX_REQUESTS_IN_FLIGHT", "64", 64),
    ("API_KEYS", "sk-first-key, sk-second-key", ("sk-first-key", "sk-second-key")),
    ("NO_AUTH", "1", True),
    ("RATE_LIMIT_ENABLED", "yes", True),
    ("RATE_LIMIT_REQUESTS", "5", 5),
    ("RATE_LIMIT_TOKENS", "50000", 50_000),
    ("MAX_CONCURRENT_REQUESTS", "1", 1),
    ("GLOBAL_RATE_LIMIT_REQUESTS", "600", 600),
    ("GLOBAL_RATE_LIMIT_TOKENS", "9000000", 9_000_000),
    ("GLOBAL_MAX_CONCURRENT_REQUESTS", "64", 64),
    ("ADMIN_KEY", "0123456789abcdef", "0123456789abcdef"),
    ("KEY_SECRET", "s" * 32, "s" * 32),
    ("TRUSTED_PROXIES", "10.1.2.3/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ("PASSTHROUGH_ENABLED", "off", False),
    ("PASSTHROUGH_ADAPTER", "mine", "mine"),
    ("MAX_UPLOAD_MB", "1.5", 1.5),
    ("ONE_API_ADAPTERS", "b,a", ("b", "a")),
    ("DEFAULT_MODEL", "m", "m"),
    ("MAX_TOKENS", "100", 100),
    ("STRICT_PARAMS", "true", True),
    ("EMULATE_N", "true", True),
    ("REASONING_FIELD", "reasoning", "reasoning"),
    ("MODELS_REFRESH_S", "60", 60),
    ("TIKTOKEN_CACHE_DIR", "/ranks", Path("/ranks")),
    ("UPSTREAMS_FILE", "/etc/upstreams.yaml", Path("/etc/upstreams.yaml")),
    ("MODEL_ALIASES", "fast=a", {"fast": ("a",)}),
    ("MAX_ATTEMPTS", "1", 1),
    ("MAX_ATTEMPTS", "10", 10),
    ("ROUTING_HEADERS", "true", True),
    ("HOLD_BACK_TOKENS", "10000", 10_000),
    ("HOLD_BACK_MS", "60000", 60_000),
    ("BREAKER_FAILURES", "1", 1),
    ("BREAKER_RATIO", "1", 1),
    ("BREAKER_MIN_REQUESTS", "1", 1),
    ("BREAKER_WINDOW_S", "0.5", 0.5),
    ("BREAKER_COOLDOWN_S", "86400", 86_400),
    ("BREAKER_GROWTH", "1", 1),
    ("BREAKER_MAX_COOLDOWN_S", "1", 1),
    ("RETRY_RATIO", "0", 0),
    ("RETRY_MIN", "0", 0),
    ("CONNECT_TIMEOUT_S", "1", 1),
    ("FIRST_CONTENT_TIMEOUT_S", "2", 2),
    ("IDLE_TIMEOUT_S", "3", 3),
    ("TOTAL_TIMEOUT_S", "4", 4),
    ("FAILOVER_FIRST_CONTENT_TIMEOUT_S", "0.5", 0.5),
    ("FAILOVER_TOTAL_TIMEOUT_S", "7", 7),
    ("STREAM_OPEN_AFTER_S", "0", 0),
    ("KEEP_ALIVE_S", "2.5", 2.5),
    ("REDIS_URL", "rediss://:pw@h:6379/0", "rediss://:pw@h:6379/0"),
    ("REDIS_FAILURE", "fail_closed", "fail_closed"),
    ("DATABASE_URL", "postgresql://u:pw@h/d", "postgresql://u:pw@h/d"),
    ("DATABASE_URL", "postgres://h/d", "postgres://h/d"),
    ("DATABASE_URL", "postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
    ("DATABASE_URL", "sqlite+aiosqlite:///f.db", "sqlite+aiosqlite:///f.db"),
    ("DATABASE_URL", "none", "none"),
    ("DATA_DIR", "/var/lib/one-api", Path("/var/lib/one-api")),
    ("PRICES_FILE", "prices.yaml", Path("prices.yaml")),
    ("REQUEST_LOG", "full", "full"),
    ("REQUEST_LOG_MAX_DAYS", "0.5", 0.5),
    ("REQUEST_LOG_MAX_ROWS", "1", 1),
    ("REQUEST_LOG_BODY_KB", "1.5", 1.5),
    ("CACHE", "memory", "memory"),
    ("CACHE_TTL_S", "1", 1),
    ("CACHE_MAX_MB", "0.5", 0.5),
    ("CACHE_SHARE_IN_FLIGHT", "true", True),
    ("IDEMPOTENCY_TTL_S", "60", 60),
    ("METRICS_TOKEN", "0123456789abcdef", "0123456789abcdef"),
    ("METRICS_BIND", "127.0.0.1:9464", "127.0.0.1:9464"),
    ("METRICS_BIND", "[::1]:9464", "[::1]:9464"),
    ("METRICS_DIR", "/run/one-api", Path("/run/one-api")),
    ("SERVER_TIMING", "true", True),
    ("ALERT_FEISHU_URL", "https://f.example/hook/1", "https://f.example/hook/1"),
    ("ALERT_SLACK_URL", "https://s.example/T/B/x", "https://s.example/T/B/x"),
    ("ALERT_WEBHOOK_URL", "http://localhost:9", "http://localhost:9"),
    ("ALERT_LANGUAGE", "zh", "zh"),
    ("ALERT_GROUP_S", "0", 0),
    ("ALERT_QUIET_S", "0", 0),
    ("ALERT_REPEAT_S", "60", 60),
    ("ALERT_MAX_PER_MINUTE", "60", 60),
    ("ALERT_ERROR_PERCENT", "0.5", 0.5),
    ("ALERT_ERROR_WINDOW_S", "3600", 3600),
    ("ALERT_ERROR_MIN_REQUESTS", "1", 1),
    ("PROBE_INTERVAL_S", "30", 30),
    ("LOG_FORMAT", "json", "json"),
    ("LOG_REQUESTS", "false", False),
    ("TRACING", "true", True),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true", True),
]

WRONG: list[tuple[str, str]] = [
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "sk-oops"),
    ("WORKERS", "0"),
    ("WORKERS", "1.5"),
    ("DEBUG", "perhaps"),
    ("API_PREFIX", "/"),
    ("API_PREFIX", "/a//b"),
    ("API_PREFIX", "/a?b"),
    ("API_PREFIX", "https://h/v1"),
    ("API_PREFIX", "/<path:x>"),
    ("CORS_ORIGINS", "app.example.com"),
    ("CORS_ORIGINS", "https://a.example/path"),
    ("CORS_ORIGINS", "https://a.example,*.b.example"),
    ("MAX_BODY_MB", "0"),
    ("MAX_BODY_MB", "2000"),
    ("MAX_BODY_MB", "32MB"),
    ("BODY_TIMEOUT_S", "-1"),
    ("DRAIN_TIMEOUT_S", "-1"),
    ("MAX_REQUESTS_IN_FLIGHT", "0"),
    ("API_KEYS", "short"),
    ("API_KEYS", "sk-good-enough,sk with space"),
    ("API_KEYS", "sk-schlüssel"),
    ("NO_AUTH", "perhaps"),
    ("RATE_LIMIT_ENABLED", "sometimes"),
    ("RATE_LIMIT_REQUESTS", "0"),
    ("RATE_LIMIT_TOKENS", "0"),
    ("RATE_LIMIT_TOKENS", "sk-oops"),
    ("MAX_CONCURRENT_REQUESTS", "0"),
    ("GLOBAL_RATE_LIMIT_REQUESTS", "-1"),
    ("GLOBAL_RATE_LIMIT_TOKENS", "0.5"),
    ("GLOBAL_MAX_CONCURRENT_REQUESTS", "0"),
    ("KEY_SECRET", "thirty-one-characters-are-not-3"),
    ("TRUSTED_PROXIES", "sk-oops"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,proxy.example"),
    ("PASSTHROUGH_ENABLED", "sometimes"),
    ("MAX_UPLOAD_MB", "0"),
    ("MAX_TOKENS", "0"),
    ("MAX_TOKENS", "many"),
    ("STRICT_PARAMS", "very"),
    ("EMULATE_N", "twice"),
    ("REASONING_FIELD", "thoughts"),
    ("MODELS_REFRESH_S", "0.5"),
    ("CONNECT_TIMEOUT_S", "0"),
    ("FIRST_CONTENT_TIMEOUT_S", "soon"),
    ("IDLE_TIMEOUT_S", "0"),
    ("TOTAL_TIMEOUT_S", "-5"),
    ("STREAM_OPEN_AFTER_S", "-1"),
    ("KEEP_ALIVE_S", "-1"),
    ("REDIS_URL", "http://:s3cret@localhost"),
    ("REDIS_FAILURE", "sometimes"),
    ("DATABASE_URL", "sk-oops"),
    ("DATABASE_URL", "mysql://u:s3cret@h/d"),
    ("DATABASE_URL", "sqlite://sk-oops.db"),
    ("DATABASE_URL", "sqlite:///:memory:"),
    ("DATABASE_URL", "postgresql:h/d"),
    ("REQUEST_LOG", "everything"),
    ("REQUEST_LOG_MAX_DAYS", "0"),
    ("REQUEST_LOG_MAX_ROWS", "0"),
    ("REQUEST_LOG_BODY_KB", "0"),
    ("REQUEST_LOG_BODY_KB", "10001"),
    ("CACHE", "disk"),
    ("CACHE_TTL_S", "0"),
    ("CACHE_MAX_MB", "0"),
    ("CACHE_SHARE_IN_FLIGHT", "sometimes"),
    ("IDEMPOTENCY_TTL_S", "0"),
    ("ADMIN_KEY", "fifteen-letters"),
    ("ADMIN_KEY", "an admin key with white space"),
    ("ADMIN_KEY", "ein-schlüssel-mit-umlaut"),
    ("MODEL_ALIASES", "sk-oops"),
    ("MODEL_ALIASES", "sk-oops="),
    ("MODEL_ALIASES", "=sk-oops"),
    ("MODEL_ALIASES", "fast=sk-oops|"),
    ("MODEL_ALIASES", "sk-oops=a,sk-oops=b"),
    ("MAX_ATTEMPTS", "0"),
    ("MAX_ATTEMPTS", "11"),
    ("ROUTING_HEADERS", "sometimes"),
    ("HOLD_BACK_TOKENS", "-1"),
    ("HOLD_BACK_TOKENS", "10001"),
    ("HOLD_BACK_MS", "-1"),
    ("HOLD_BACK_MS", "60001"),
    ("BREAKER_FAILURES", "0"),
    ("BREAKER_RATIO", "0"),
    ("BREAKER_RATIO", "50"),
    ("BREAKER_MIN_REQUESTS", "0"),
    ("BREAKER_WINDOW_S", "0"),
    ("BREAKER_COOLDOWN_S", "inf"),
    ("BREAKER_GROWTH", "0.5"),
    ("BREAKER_GROWTH", "11"),
    ("BREAKER_MAX_COOLDOWN_S", "nan"),
    ("RETRY_RATIO", "1.1"),
    ("RETRY_RATIO", "-0.1"),
    ("RETRY_MIN", "-1"),
    ("FAILOVER_FIRST_CONTENT_TIMEOUT_S", "0"),
    ("FAILOVER_TOTAL_TIMEOUT_S", "-1"),
    ("METRICS_TOKEN", "fifteen-letters"),
    ("METRICS_BIND", "8081"),
    ("METRICS_BIND", "localhost:0"),
    ("METRICS_BIND", "localhost:65536"),
    ("METRICS_BIND", "sk oops:1"),
    ("SERVER_TIMING", "sometimes"),
    ("ALERT_FEISHU_URL", "f.example/hook"),
    ("ALERT_FEISHU_SECRET", "a-secret-without-url"),
    ("ALERT_MATRIX_URL", "matrix.example"),
    ("ALERT_MATRIX_URL", "https://alone.example"),
    ("ALERT_MATRIX_ROOM", "#alias:matrix.example"),
    ("ALERT_MATRIX_ROOM", "!alone:matrix.example"),
    ("ALERT_MATRIX_TOKEN", "a-token-alone"),
    ("ALERT_SLACK_URL", "ftp://s.example"),
    ("ALERT_WEBHOOK_URL", "https:///nowhere"),
    ("ALERT_WEBHOOK_SECRET", "fifteen-letters"),
    ("ALERT_WEBHOOK_SECRET", "whsec_this-is-no-base64"),
    ("ALERT_WEBHOOK_SECRET", "a-secret-without-url"),
    ("ALERT_LANGUAGE", "fr"),
    ("ALERT_GROUP_S", "61"),
    ("ALERT_QUIET_S", "-1"),
    ("ALERT_REPEAT_S", "59"),
    ("ALERT_MAX_PER_MINUTE", "0"),
    ("ALERT_ERROR_PERCENT", "101"),
    ("ALERT_ERROR_WINDOW_S", "0.5"),
    ("ALERT_ERROR_MIN_REQUESTS", "0"),
    ("PROBE_INTERVAL_S", "-1"),
    ("LOG_FORMAT", "xml"),
    ("LOG_REQUESTS", "sometimes"),
    ("TRACING", "sometimes"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "sometimes"),
]


@pytest.mark.parametrize(("name", "text", "value"), VALUES, ids=[row[0] for row in VALUES])
def test_variable_is_read(
    name: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)

    assert value == plain(getattr(Settings.load(), name.lower()))


def test_no_variable_is_left_untested() -> None:
    assert {name.lower() for name, *_ in (*VALUES, *WRONG)} == Settings.model_fields.keys()


@pytest.mark.parametrize(("name", "text"), WRONG, ids=[f"{name}={text}" for name, text in WRONG])
def test_wrong_value_is_told_by_its_variable_never_by_itself(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mixes two variables up puts a secret into the wrong one."""
    monkeypatch.setenv(name, text)

    with pytest.raises(ConfigurationError) as caught:
        Settings.load()

    error = caught.value
    assert name == error.variable
    assert str(error).startswith(f"{name}: ")
    assert error.expected
    assert len(text) < 3 or text not in str(error)
    assert None is error.__cause__


def test_wrong_argument_is_not_shown_either() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(port="sk-oops")

    assert "sk-oops" not in str(caught.value)


@pytest.mark.parametrize("name", [field.upper() for field in Settings.model_fields])
def test_empty_variable_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")

    assert Settings() == Settings.load()


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_default_is_what_its_checks_make_of_it(name: str) -> None:
    """A default is taken as it is: nothing checks it at a start."""
    default = Settings.model_fields[name].default

    assert default == getattr(Settings(**{name: default}), name)


class TestPrecedence:
    def test_default_then_file_then_environment_then_command_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert 8000 == Settings.load().port
        write_env_file(PORT="8001")
        assert 8001 == Settings.load().port
        monkeypatch.setenv("PORT", "8002")
        assert 8002 == Settings.load().port
        assert 8003 == Settings.load(port=8003).port

    def test_none_on_the_command_line_is_no_override(self) -> None:
        write_env_file(PORT="8001")

        assert 8001 == Settings.load(port=None, host=None).port

    def test_empty_environment_does_not_hide_the_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_env_file(PORT="8001")
        monkeypatch.setenv("PORT", "")

        assert 8001 == Settings.load().port

    def test_variable_in_small_letters_is_read_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_env_file(port="8001")
        assert 8001 == Settings.load().port
        monkeypatch.setenv("port", "8002")

        assert 8002 == Settings.load().port

    def test_adapters_read_from_the_same_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_env_file(A_KEY="file", B_KEY="file", C_KEY="")
        monkeypatch.setenv("A_KEY", "")
        monkeypatch.setenv("B_KEY", "environment")

        told = environment()

        assert ("file", "environment", "") == (told["A_KEY"], told["B_KEY"], told["C_KEY"])

    def test_strangers_in_the_file_are_ignored(self) -> None:
        write_env_file(SOMETHING_ELSE="x", PORT="8001")

        assert 8001 == Settings.load().port


class TestSense:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.10"])
    def test_loopback_needs_no_keys(self, host: str) -> None:
        Settings.load(host=host).require_keys_in_public()

    @pytest.mark.parametrize(
        "host",
        ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "127.0.0.1.x"],  # noqa: S104 - refused
    )
    def test_public_address_needs_keys_or_a_word(self, host: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(host=host).require_keys_in_public()
        assert "API_KEYS" == caught.value.variable

        Settings.load(host=host, no_auth=True).require_keys_in_public()
        Settings.load(host=host, api_keys="sk-good-enough").require_keys_in_public()

    def test_keys_of_the_upstreams_file_are_keys(self) -> None:
        settings = Settings.load(host="192.0.2.1")

        settings.require_keys_in_public(extra_keys=True)
        with pytest.raises(ConfigurationError):
            settings.require_keys_in_public(extra_keys=False)

    def test_admin_key_is_no_key_of_clients(self) -> None:
        """Who may call may not administrate: one key for both would say otherwise."""
        admin, client = "the-key-of-the-operator", "the-key-of-a-client"
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(admin_key=admin, api_keys=f"{client},{admin}")
        assert "ADMIN_KEY" == caught.value.variable
        assert admin not in str(caught.value)

        settings = Settings.load(admin_key=admin, api_keys=client)
        settings.require_admin_apart([SecretStr(client)])
        with pytest.raises(ConfigurationError):
            settings.require_admin_apart(SecretStr(key) for key in (client, admin))
        Settings.load().require_admin_apart([SecretStr(admin)])

    @pytest.mark.parametrize("variable", ["api_keys", "admin_key"])
    def test_metrics_token_is_no_other_key(self, variable: str) -> None:
        token = "one-key-for-everything"
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(metrics_token=token, **{variable: token})
        assert "METRICS_TOKEN" == caught.value.variable
        assert token not in str(caught.value)

        settings = Settings.load(metrics_token=token)
        with pytest.raises(ConfigurationError):
            settings.require_metrics_apart([SecretStr(token)])

    def test_metrics_have_an_address_of_their_own(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(port=8123, metrics_bind="127.0.0.1:8123")
        assert "METRICS_BIND" == caught.value.variable

    @pytest.mark.parametrize(
        "limit",
        [
            {"rate_limit_enabled": True},
            {"rate_limit_tokens": 1000},
            {"max_concurrent_requests": 2},
            {"global_rate_limit_requests": 60},
            {"global_rate_limit_tokens": 1000},
            {"global_max_concurrent_requests": 2},
        ],
        ids=lambda limit: next(iter(limit)),
    )
    def test_several_processes_cannot_share_a_limit_without_redis(
        self, limit: dict[str, int]
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(workers=2, **limit)
        assert "WORKERS" == caught.value.variable

        assert Settings.load(workers=2, redis_url="redis://localhost", **limit).has_limits
        assert Settings.load(**limit).has_limits
        assert not Settings.load(workers=2).has_limits

    def test_cache_in_redis_needs_redis(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(cache="redis")
        assert "CACHE" == caught.value.variable

        Settings.load(cache="redis", redis_url="redis://localhost")
        Settings.load(cache="memory")

    @pytest.mark.parametrize(
        ("url", "file", "directory"),
        [
            ("sqlite:///one_api.db", Path("one_api.db"), Path(".")),
            ("sqlite:///data/a.db", Path("data/a.db"), Path("data")),
            ("sqlite+aiosqlite:////var/lib/a.db", Path("/var/lib/a.db"), Path("/var/lib")),
            ("postgresql://h/d", None, Path("one_api_data")),
            ("postgresql:///d", None, Path("one_api_data")),
            ("none", None, Path("one_api_data")),
        ],
    )
    def test_journal_is_beside_the_file_unless_it_has_its_own_place(
        self, url: str, file: Path | None, directory: Path
    ) -> None:
        settings = Settings.load(database_url=url)

        assert (file, directory) == (settings.sqlite_file, settings.data_directory)
        assert Path("/d") == Settings.load(database_url=url, data_dir="/d").data_directory
        assert (None if url == "none" else url) == settings.storage_url

    def test_sizes_are_in_decimal_megabytes(self) -> None:
        settings = Settings.load(
            max_body_mb=0.5, max_upload_mb=2, cache_max_mb=3, request_log_body_kb=0.5
        )

        assert (500_000, 2_000_000) == (settings.max_body_bytes, settings.max_upload_bytes)
        assert (3_000_000, 500) == (settings.cache_max_bytes, settings.request_log_body_bytes)


class TestAliases:
    @pytest.mark.parametrize(
        ("text", "read"),
        [
            ("fast=a", {"fast": ("a",)}),
            ("fast=a|b", {"fast": ("a", "b")}),
            (" fast = a | b , gpt-4*=c,", {"fast": ("a", "b"), "gpt-4*": ("c",)}),
            ("fast=eu/org/model:tag", {"fast": ("eu/org/model:tag",)}),
            ("fast=a=b", {"fast": ("a=b",)}),
            (",", {}),
        ],
    )
    def test_text_is_read_in_order(self, text: str, read: dict[str, tuple[str, ...]]) -> None:
        assert list(read.items()) == list(aliases(text).items())

    def test_they_are_explained_as_they_are_written(self) -> None:
        settings = Settings.load(model_aliases="fast=a|b,gpt-4*=c")

        rows = {name: value for name, value, _ in explain(settings)}

        assert "fast=a|b,gpt-4*=c" == rows["MODEL_ALIASES"]
        assert aliases(rows["MODEL_ALIASES"]) == settings.model_aliases


class TestTimeouts:
    def test_each_has_its_variable(self) -> None:
        settings = Settings.load(
            connect_timeout_s=1,
            first_content_timeout_s=30,
            idle_timeout_s=3,
            total_timeout_s=40,
            failover_first_content_timeout_s=5,
            failover_total_timeout_s=6,
        )

        assert settings.timeouts == Timeouts(
            connect_s=1,
            first_content_s=30,
            idle_s=3,
            total_s=40,
            failover_first_content_s=5,
            failover_total_s=6,
        )

    def test_defaults_are_the_deployments_own(self) -> None:
        assert Timeouts() == Settings.load().timeouts

    def test_nobody_waits_longer_because_another_is_left(self) -> None:
        timeouts = Settings.load(first_content_timeout_s=2, total_timeout_s=3).timeouts

        assert (2, 3) == (timeouts.failover_first_content_s, timeouts.failover_total_s)


class TestExplain:
    def test_every_setting_has_a_value_and_a_source(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_env_file(PORT="8001", WORKERS="2")
        monkeypatch.setenv("WORKERS", "3")

        rows = {name: (value, source) for name, value, source in explain(Settings.load())}

        assert {name.upper() for name in Settings.model_fields} == rows.keys()
        assert ("8001", ".env") == rows["PORT"]
        assert ("3", "environment") == rows["WORKERS"]
        assert ("127.0.0.1", "default") == rows["HOST"]
        assert ("-", "default") == rows["API_KEYS"]
        assert ("-", "default") == rows["MODEL_ALIASES"]
        assert ("sqlite:///one_api.db", "default") == rows["DATABASE_URL"]

    def test_secrets_are_masked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secrets = {
            "API_KEYS": "sk-secret-one,sk-secret-two",
            "ADMIN_KEY": "sk-secret-of-the-operator",
            "KEY_SECRET": "sk-secret-of-the-server-of-32-chars",
            "REDIS_URL": "redis://:sk-secret-three@h",
            "DATABASE_URL": "postgresql://u:sk-secret-four@h/d",
        }
        for name, value in secrets.items():
            monkeypatch.setenv(name, value)
        settings = Settings.load()

        shown = f"{explain(settings)} {settings!r} {settings}"

        assert "sk-secret" not in shown

    @pytest.mark.parametrize("field", Settings.model_fields)
    def test_every_setting_says_what_it_wants(self, field: str) -> None:
        form = expected_form(field)

        assert str(Settings.model_fields[field].description) in form

    @pytest.mark.parametrize(
        ("field", "form"),
        [
            ("port", "a whole number (default 8000)"),
            ("max_body_mb", "a number (default 32)"),
            ("debug", "true or false (default False)"),
            ("cors_origins", "a comma-separated list"),
            ("model_aliases", "a comma-separated list of name=model. "),
            ("reasoning_field", "one of both, reasoning, reasoning_content (default both)"),
            ("host", "text (default 127.0.0.1)"),
            ("rate_limit_tokens", "a whole number. "),
            ("trusted_proxies", "a comma-separated list. "),
            ("one_api_adapters", "a comma-separated list. "),
            ("database_url", "text (default sqlite:///one_api.db)"),
            ("admin_key", "text. "),
        ],
    )
    def test_form_fits_the_type(self, field: str, form: str) -> None:
        assert expected_form(field).startswith(form)


class TestExampleFile:
    """`.env.example` is the one list of all variables: it must be whole, right and harmless."""

    def variables_of_adapters(self) -> set[str]:
        own = (ClaudeSettings, EchoSettings, GeminiSettings, LocalSettings, OllamaSettings)
        first = {names[0] for settings in own for names in settings.variables().values()}
        rows = {
            f"{variable_prefix(provider)}_{field}"
            for provider in PROVIDERS
            for field in ("API_KEY", "BASE_URL", "MODELS")
        }
        return first | rows

    def test_it_names_every_variable_and_no_other(self) -> None:
        core = {field.upper() for field in Settings.model_fields}

        assert core | self.variables_of_adapters() == dotenv_values(EXAMPLE).keys()

    def test_second_names_are_told_too(self) -> None:
        text = EXAMPLE.read_text()
        second = {
            name
            for settings in (ClaudeSettings, EchoSettings, GeminiSettings, LocalSettings)
            for names in settings.variables().values()
            for name in names[1:]
        }

        assert [] == [name for name in sorted(second) if name not in text]

    def test_copying_it_changes_nothing(self) -> None:
        defaults = Settings.load()
        Path(".env").write_text(EXAMPLE.read_text())

        assert defaults == Settings.load()

    def test_copying_it_switches_nothing_on(self) -> None:
        values = {name: value or "" for name, value in dotenv_values(EXAMPLE).items()}

        for provider_settings in (ClaudeSettings, GeminiSettings, OllamaSettings):
            assert not provider_settings.from_environment(values).is_configured()
        assert LocalSettings.from_environment({}) == LocalSettings.from_environment(values)
        assert EchoSettings.from_environment({}) == EchoSettings.from_environment(values)
        for provider in PROVIDERS:
            settings = settings_of(provider, values)
            assert None is settings.api_key
            assert settings.base_url in ("", provider.base_url)
