"""An adapter's settings come from the mapping it is given, and errors never show a value."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator

from one_api.adapter import AdapterSettings, ConfigurationError


class Sample(AdapterSettings):
    api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("SAMPLE_API_KEY", "OLD_SAMPLE_KEY")
    )
    timeout_s: Annotated[float, Field(gt=0)] = Field(5.0, validation_alias="SAMPLE_TIMEOUT")
    retries: int = 2
    mode: Literal["fast", "slow"] = Field("fast", validation_alias="SAMPLE_MODE")
    region: str = Field("", validation_alias="SAMPLE_REGION")

    @field_validator("region")
    @classmethod
    def _is_lower(cls, value: str) -> str:
        if value != value.lower():
            raise ValueError("must be lower case")
        return value


class Demanding(AdapterSettings):
    api_key: SecretStr = Field(validation_alias=AliasChoices("DEMANDING_KEY", "OTHER_KEY"))
    region: str


def test_variables_are_told_in_order_of_precedence() -> None:
    assert {
        "api_key": ("SAMPLE_API_KEY", "OLD_SAMPLE_KEY"),
        "timeout_s": ("SAMPLE_TIMEOUT",),
        "retries": ("RETRIES",),
        "mode": ("SAMPLE_MODE",),
        "region": ("SAMPLE_REGION",),
    } == Sample.variables()


def test_defaults_hold_in_an_empty_environment() -> None:
    settings = Sample.from_environment({"UNRELATED": "1"})
    assert (None, 5.0, 2, "fast") == (
        settings.api_key,
        settings.timeout_s,
        settings.retries,
        settings.mode,
    )
    assert settings.is_configured()


def test_text_becomes_the_fields_type() -> None:
    settings = Sample.from_environment({"SAMPLE_TIMEOUT": "2.5", "RETRIES": "7"})
    assert (2.5, 7) == (settings.timeout_s, settings.retries)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SAMPLE_API_KEY": "new", "OLD_SAMPLE_KEY": "old"}, "new"),
        ({"OLD_SAMPLE_KEY": "old", "SAMPLE_API_KEY": "new"}, "new"),
        ({"OLD_SAMPLE_KEY": "old"}, "old"),
        ({"SAMPLE_API_KEY": "", "OLD_SAMPLE_KEY": "old"}, "old"),
    ],
)
def test_first_variable_that_says_something_wins(
    environment: dict[str, str], expected: str
) -> None:
    api_key = Sample.from_environment(environment).api_key
    assert api_key is not None
    assert expected == api_key.get_secret_value()


def test_empty_variable_is_an_absent_one() -> None:
    assert 2 == Sample.from_environment({"RETRIES": "", "SAMPLE_MODE": ""}).retries


@pytest.mark.parametrize(
    ("environment", "variable", "problem"),
    [
        ({"RETRIES": "canary"}, "RETRIES", "integer"),
        ({"SAMPLE_TIMEOUT": "canary"}, "SAMPLE_TIMEOUT", "number"),
        ({"SAMPLE_TIMEOUT": "-1"}, "SAMPLE_TIMEOUT", "greater than 0"),
        ({"SAMPLE_MODE": "canary"}, "SAMPLE_MODE", "'fast' or 'slow'"),
        ({"SAMPLE_REGION": "CANARY"}, "SAMPLE_REGION", "must be lower case"),
    ],
)
def test_wrong_value_is_told_by_variable_and_never_shown(
    environment: dict[str, str], variable: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample.from_environment(environment)
    assert variable == caught.value.variable
    assert problem in str(caught.value)
    assert "canary" not in str(caught.value).lower()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("environment", "variable"),
    [({"REGION": "eu"}, "DEMANDING_KEY"), ({"OTHER_KEY": "k"}, "REGION")],
)
def test_missing_variable_is_told_by_its_first_name(
    environment: dict[str, str], variable: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Demanding.from_environment(environment)
    assert variable == caught.value.variable


def test_credentials_do_not_show() -> None:
    settings = Sample.from_environment({"SAMPLE_API_KEY": "canary"})
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_settings_cannot_be_changed() -> None:
    settings = Sample.from_environment({})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "retries", 3)  # noqa: B010 - the type checker knows it is read-only
