"""Settings of the log and of traces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from one_api.settings.sources import Section


class TelemetrySection(Section):
    """What is told while requests are answered, and in which form."""

    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="Form of the log; auto: console on a terminal, else json."),
    ] = "auto"
    log_requests: Annotated[bool, Field(description="Log a line for each request.")] = True
    tracing: Annotated[
        bool, Field(description="Send traces (OpenTelemetry) where OTEL_* variables say.")
    ] = False
    otel_instrumentation_genai_capture_message_content: Annotated[
        bool, Field(description="Put what is asked and answered into traces, too.")
    ] = False

    @property
    def traces_bodies(self) -> bool:
        """Whether traces have what was asked and answered."""
        return self.tracing and self.otel_instrumentation_genai_capture_message_content
