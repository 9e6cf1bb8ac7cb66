"""An adapter's settings: environment variables as the fields of a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from one_api.errors import ConfigurationError

#: How an entry of the file of upstreams calls the fields that most adapters have.
_ENTRY_FIELDS = {"api_key": "sk", "base_url": "endpoint"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """What an entry of the operator's file of upstreams says of the provider.

    `provider` is the name by which the entry asks for its adapter. `options` are settings of the
    adapter's own, by the names of their fields, as text.
    """

    provider: str
    api_key: SecretStr | None = None
    base_url: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


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
        for name, variables in cls.variables().items():
            for variable in variables:
                # Keys are pasted with a line's end more often than they have one.
                if environment.get(variable, "").strip():
                    values[name] = environment[variable].strip()
                    source[name] = variable
                    break
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_input=False)[0]
            name = str(error["loc"][0]) if error["loc"] else ""
            fallback = cls.variables().get(name, (name,))[0]
            raise ConfigurationError(source.get(name, fallback), error["msg"]) from None

    @classmethod
    def from_upstream(cls, upstream: UpstreamSettings) -> Self:
        """The settings in an entry of the operator's file of upstreams.

        Raises: ConfigurationError that names the entry's field and never its value.
        """
        given: dict[str, str] = dict(upstream.options)
        if upstream.base_url:
            given["base_url"] = upstream.base_url
        if upstream.api_key is not None:
            # Keys are pasted with a line's end more often than they have one.
            given["api_key"] = upstream.api_key.get_secret_value().strip()
        unknown = sorted(given.keys() - cls.model_fields.keys())
        if unknown:
            known = ", ".join(cls.model_fields) or "none"
            raise ConfigurationError(
                _ENTRY_FIELDS.get(unknown[0], f"options.{unknown[0]}"),
                f"the adapter '{upstream.provider}' has no such setting",
                f"one of its settings: {known}",
            )
        try:
            return cls.model_validate(given)
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_input=False)[0]
            name = str(error["loc"][0]) if error["loc"] else ""
            raise ConfigurationError(
                _ENTRY_FIELDS.get(name, f"options.{name}"), error["msg"]
            ) from None

    def secrets(self) -> tuple[str, ...]:
        """The credentials in these settings: they are taken out of whatever is told to clients."""
        values = self.__dict__.values()
        known = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        # What is this short is no secret, and stands in every other word.
        return tuple([secret for secret in known if len(secret) > 5])

    def is_configured(self) -> bool:
        """Whether the operator switched this adapter on."""
        return True


def _fields(settings: type[AdapterSettings]) -> list[tuple[str, FieldInfo]]:
    return list(settings.model_fields.items())


def _aliases(field: str, alias: str | AliasPath | AliasChoices | None) -> tuple[str, ...]:
    if isinstance(alias, AliasChoices):
        return tuple(choice for choice in alias.choices if isinstance(choice, str))
    return (alias,) if isinstance(alias, str) else (field.upper(),)
