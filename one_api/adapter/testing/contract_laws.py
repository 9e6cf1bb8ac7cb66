"""Laws of what stands around requests: version, import, settings, models."""

from __future__ import annotations

import re
from typing import Final

from pydantic import SecretStr

from one_api.adapter.base import API_VERSION, BaseModelAdapter
from one_api.adapter.testing.bench import (
    CREDENTIAL,
    MODELS,
    NOWHERE,
    Subject,
    idle_context,
    open_bench,
)
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.probe import Findings, probe
from one_api.adapter.testing.verdict import require, require_equal
from one_api.errors import ModelNotFound
from one_api.schemas.models import ModelInfo

MAX_IMPORT_CPU_MS: Final = 300
_SECRET: Final = re.compile(r"(?:^|_)(?:key|token|secret|password|credential)s?$")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")

chapter = Chapter()


@chapter.law("api-version", need="nothing")
async def has_api_version(subject: Subject) -> None:
    """The class is written for contract version 1."""
    require(issubclass(subject.adapter, BaseModelAdapter), "it is no BaseModelAdapter")
    require_equal(API_VERSION, subject.adapter.api_version, "api_version")


@chapter.law("import-offline", need="nothing")
async def imports_offline(subject: Subject) -> None:
    """Importing the adapter reaches for no network."""
    require_equal((), (await _findings(subject)).on_import, "reached for on import")


@chapter.law("import-cost", need="nothing")
async def imports_fast(subject: Subject) -> None:
    """Importing the adapter costs under 300 ms of CPU beyond one_api itself."""
    cost_ms = (await _findings(subject)).import_cpu_ms
    if cost_ms >= MAX_IMPORT_CPU_MS:
        # The first import may have compiled the modules.
        cost_ms = (await _findings(subject, anew=True)).import_cpu_ms
    require(cost_ms < MAX_IMPORT_CPU_MS, f"the import took {cost_ms:.0f} ms of CPU")


@chapter.law("construction-offline", need="nothing")
async def constructs_offline(subject: Subject) -> None:
    """Making an instance reaches for no network."""
    require_equal((), (await _findings(subject)).on_construction, "reached for in construction")


@chapter.law("settings-variables", need="nothing")
async def has_variables(subject: Subject) -> None:
    """Each setting has environment variables of its own."""
    owners: dict[str, str] = {}
    for field, variables in subject.adapter.Settings.variables().items():
        require(bool(variables), f"the setting '{field}' has no variable")
        for variable in variables:
            well_named = _VARIABLE.fullmatch(variable) is not None
            require(well_named, f"'{variable}' is not in upper case")
            owner = owners.setdefault(variable, field)
            require(owner == field, f"'{owner}' and '{field}' share {variable}")


@chapter.law("settings-described", need="nothing")
async def describes_settings(subject: Subject) -> None:
    """Each setting is described: by `Field(description=...)`, or its variable in the README."""
    settings = subject.adapter.Settings
    for field, variables in settings.variables().items():
        is_described = bool(settings.model_fields[field].description) or any(
            variable in subject.readme for variable in variables
        )
        require(is_described, f"nothing tells what '{field}' ({', '.join(variables)}) is")


@chapter.law("settings-secret", need="nothing")
async def keeps_secrets(subject: Subject) -> None:
    """Credentials are SecretStr, and told to the gateway."""
    for name, field in subject.adapter.Settings.model_fields.items():
        kind = str(field.annotation)
        if _SECRET.search(name) and "str" in kind.lower():
            is_secret = "SecretStr" in kind
            require(is_secret, f"the setting '{name}' is a credential, but no SecretStr")
    if not subject.has_credential:
        return
    adapter = subject.build(subject.variables(NOWHERE), idle_context())
    require(CREDENTIAL not in repr(adapter.settings), "the settings show the credential")
    secrets = [
        value.get_secret_value()
        for value in (
            getattr(adapter.settings, name) for name in type(adapter.settings).model_fields
        )
        if isinstance(value, SecretStr)
    ]
    require(CREDENTIAL in secrets, "no SecretStr setting holds the credential")


@chapter.law("unconfigured", need="credential")
async def is_off_by_default(subject: Subject) -> None:
    """Without its variables a provider with a credential is not there."""
    made = subject.adapter.build(subject.name, {}, idle_context())
    require_equal([], sorted(made), "instances made of no variables")


@chapter.law("models-listed", need="answers")
async def lists_models(subject: Subject) -> None:
    """The models offered are those of the provider, each once."""
    async with open_bench(subject) as bench:
        models = await bench.adapter.list_models()
        require(all(isinstance(m, ModelInfo) for m in models), "not all are ModelInfo")
        ids = [model.id for model in models]
        require_equal(sorted(set(ids)), sorted(ids), "the ids of models")
        require("" not in ids, "a model has no id")
        if subject.profile is not None:
            require_equal(sorted(MODELS), sorted(ids), "the ids of models")
        found = await bench.adapter.get_model_info(ids[0])
        require_equal(ids[0], found.id, "get_model_info()")


@chapter.law("model-unknown", need="answers")
async def knows_no_unknown_model(subject: Subject) -> None:
    """A model that is not there is a ModelNotFound."""
    async with open_bench(subject) as bench:
        try:
            found = await bench.adapter.get_model_info("conformance-no-such-model")
        except ModelNotFound:
            return
        require(False, f"get_model_info() of an unknown model gives {found!r}")


async def _findings(subject: Subject, *, anew: bool = False) -> Findings:
    if anew or not subject.findings:
        seen = await probe(subject.adapter, subject.name, subject.variables(NOWHERE))
        subject.findings[:] = [seen]
    return subject.findings[0]
