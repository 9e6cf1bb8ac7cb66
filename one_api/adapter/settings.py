"""An adapter's settings: environment variables as the fields of a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from one_api.errors import ConfigurationError


class AdapterSettings(BaseModel):
    """The environment variables of one adapter.

    Each field names its variable with `Field(validation_alias="NAME")`, or several with
    `AliasChoices`, first found wins. Credentials are `SecretStr`. An empty variable is an absent
    one. Adapters never read the environment themselves: they get one of these.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    #: One line that tells an operator how to switch the adapter on.
    hint: ClassVar[str] = "always on"

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Field names and the variables each is read from, in order of precedence."""
        return {name: _aliases(name, info.validation_alias) for name, info in _fields(cls)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The settings in `environment`.

        Raises: ConfigurationError that names the variable and never its value.
        """
        values: dict[str, str] = {}
        source: dict[str, str] = {}
        for field, names in cls.variables().items():
            for name in names:
                # Keys are pasted with a line's end more often than they have one.
                if environment.get(name, "").strip():
                    values[field] = environment[name].strip()
                    source[field] = name
                    break
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_input=False)[0]
            field = str(error["loc"][0]) if error["loc"] else ""
            fallback = cls.variables().get(field, (field,))[0]
            raise ConfigurationError(source.get(field, fallback), error["msg"]) from None

    def secrets(self) -> tuple[str, ...]:
        """The credentials in these settings: they are taken out of whatever is told to clients."""
        values = (getattr(self, name) for name in type(self).model_fields)
        known = (value.get_secret_value() for value in values if isinstance(value, SecretStr))
        # What is this short is no secret, and stands in every other word.
        return tuple(secret for secret in known if len(secret) > 5)

    def is_configured(self) -> bool:
        """Whether the operator switched this adapter on."""
        return True


def _fields(settings: type[AdapterSettings]) -> list[tuple[str, FieldInfo]]:
    return list(settings.model_fields.items())


def _aliases(field: str, alias: str | AliasPath | AliasChoices | None) -> tuple[str, ...]:
    if isinstance(alias, AliasChoices):
        return tuple(choice for choice in alias.choices if isinstance(choice, str))
    return (alias,) if isinstance(alias, str) else (field.upper(),)
