"""Settings of who is told what goes wrong, and of the look whether idle deployments live."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from one_api.errors import ConfigurationError
from one_api.settings.sources import Section

_URL = re.compile(r"https?://[^\s/]+\S*")
_ROOM = re.compile(r"[!#]\S+")
_ENCODED = "whsec_"
_MIN_SECRET_CHARS = 16


def _url(value: str) -> str:
    if _URL.fullmatch(value) is None:
        raise ValueError("a URL such as 'https://host/path' is needed")
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    _url(value.get_secret_value())
    return value


def _room(value: str) -> str:
    if _ROOM.fullmatch(value) is None or value.startswith("#"):
        raise ValueError("a room id such as '!abc:example.org' is needed, not an alias")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < _MIN_SECRET_CHARS:
        raise ValueError(f"the secret needs {_MIN_SECRET_CHARS} or more characters")
    if text.startswith(_ENCODED):
        try:
            base64.b64decode(text.removeprefix(_ENCODED), validate=True)
        except binascii.Error:
            raise ValueError("what follows 'whsec_' is not base64") from None
    return value


#: A URL that lets whoever knows it write: as good as a password.
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]


class AlertSection(Section):
    """Channels for alerts, and when there are any."""

    alert_feishu_url: Annotated[
        SecretUrl | None, Field(description="Webhook of a Feishu or Lark bot, for alerts.")
    ] = None
    alert_feishu_secret: Annotated[
        SecretStr | None, Field(description="Secret that the bot verifies signatures with.")
    ] = None
    alert_matrix_url: Annotated[
        Annotated[str, AfterValidator(_url)] | None,
        Field(description="Matrix homeserver, for alerts."),
    ] = None
    alert_matrix_room: Annotated[
        Annotated[str, AfterValidator(_room)] | None,
        Field(description="Id of the Matrix room: !abc:example.org."),
    ] = None
    alert_matrix_token: Annotated[
        SecretStr | None, Field(description="Access token of a Matrix user in the room.")
    ] = None
    alert_slack_url: Annotated[
        SecretUrl | None, Field(description="Incoming webhook of Slack, for alerts.")
    ] = None
    alert_webhook_url: Annotated[
        SecretUrl | None, Field(description="Any endpoint that takes alerts as JSON.")
    ] = None
    alert_webhook_secret: Annotated[
        Annotated[SecretStr, AfterValidator(_webhook_secret)] | None,
        Field(description="Secret to sign for that endpoint with (Standard Webhooks)."),
    ] = None
    alert_language: Annotated[
        Literal["en", "zh"], Field(description="Language of alerts: English or Chinese.")
    ] = "en"
    alert_group_s: Annotated[
        float, Field(description="Seconds of which alerts become one message.", ge=0, le=60)
    ] = 5
    alert_quiet_s: Annotated[
        float, Field(description="Seconds to hold back what comes back after its end.", ge=0)
    ] = 300
    alert_repeat_s: Annotated[
        float, Field(description="Seconds after which trouble that goes on is told again.", ge=60)
    ] = 14_400
    alert_max_per_minute: Annotated[
        int, Field(description="Messages a minute for each channel at most.", ge=1, le=60)
    ] = 6
    alert_error_percent: Annotated[
        float, Field(description="Failed requests, in percent, that are too many.", gt=0, le=100)
    ] = 20
    alert_error_window_s: Annotated[
        float, Field(description="Seconds of which failed requests are counted.", ge=1, le=3600)
    ] = 60
    alert_error_min_requests: Annotated[
        int, Field(description="Fewer requests than these say nothing about errors.", ge=1)
    ] = 20
    probe_interval_s: Annotated[
        float,
        Field(
            description="Seconds without a request after which a deployment is looked at; "
            "0: never.",
            ge=0,
        ),
    ] = 0

    @property
    def has_alerts(self) -> bool:
        """Whether anybody is to be told."""
        urls = (self.alert_feishu_url, self.alert_slack_url, self.alert_webhook_url)
        return self.alert_matrix_url is not None or any(url is not None for url in urls)

    @model_validator(mode="after")
    def _has_whole_channels(self) -> Self:
        matrix = {
            "ALERT_MATRIX_URL": self.alert_matrix_url,
            "ALERT_MATRIX_ROOM": self.alert_matrix_room,
            "ALERT_MATRIX_TOKEN": self.alert_matrix_token,
        }
        given = [name for name, value in matrix.items() if value is not None]
        if 0 < len(given) < len(matrix):
            raise ConfigurationError(
                given[0], "a Matrix room needs more than this", f"{', '.join(matrix)} together"
            )
        for url, secret, name in (
            (self.alert_feishu_url, self.alert_feishu_secret, "ALERT_FEISHU"),
            (self.alert_webhook_url, self.alert_webhook_secret, "ALERT_WEBHOOK"),
        ):
            if secret is not None and url is None:
                raise ConfigurationError(
                    f"{name}_SECRET", "there is nobody to sign for", f"{name}_URL beside it"
                )
        return self
