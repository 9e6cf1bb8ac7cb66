"""Several alerts as one message for people, whatever carries it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from one_api.observe.alerts.board import Alert, State
from one_api.observe.alerts.news import KINDS, Language

#: Most alerts that one message tells.
MAX_LINES: Final = 20

_SIGNS: Final[Mapping[str, str]] = {"critical": "🔴", "warning": "🟡", "over": "🟢"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes out at once. `lines` are plain text; each channel escapes them in its own way.

    `id` stays the same when it is sent again. `alerts` are those that the lines tell, `left_out`
    how many more there are.
    """

    id: str
    title: str
    lines: tuple[str, ...]
    alerts: tuple[Alert, ...]
    left_out: int
    host: str

    @property
    def text(self) -> str:
        """All of it as plain text."""
        return "\n".join((self.title, *self.lines))

    def to_wire(self) -> dict[str, Any]:
        """For programs."""
        return {
            "type": "one_api.alerts",
            "host": self.host,
            "title": self.title,
            "alerts": [
                {
                    "kind": alert.news.kind,
                    "subject": alert.news.subject,
                    "state": alert.state,
                    "severity": KINDS[alert.news.kind].severity,
                    "text": line,
                    "facts": dict(alert.news.facts),
                }
                for alert, line in zip(self.alerts, self.lines, strict=False)
            ],
            "left_out": self.left_out,
        }


def compose(
    alerts: Sequence[Alert], host: str, language: Language = "en", *, dropped: int = 0
) -> Message:
    """One message of `alerts`, the first `MAX_LINES` of them in words.

    `dropped` is how many there were besides that nobody kept.
    """
    told = tuple(alerts[:MAX_LINES])
    left_out = len(alerts) - len(told) + dropped
    lines = [_line(alert, language) for alert in told]
    if left_out:
        lines.append(f"……另有 {left_out} 条" if language == "zh" else f"... and {left_out} more")
    return Message(
        id=f"alert_{secrets.token_hex(12)}",
        title=_title(alerts, host, language),
        lines=tuple(lines),
        alerts=told,
        left_out=left_out,
        host=host,
    )


def _line(alert: Alert, language: Language) -> str:
    is_over = alert.state == "over"
    sign = _SIGNS["over" if is_over else KINDS[alert.news.kind].severity]
    still = {"en": " (still)", "zh": "（持续中）"}[language] if alert.state == "still_open" else ""
    return f"{sign} {alert.news.sentence(language)}{still}"


def _title(alerts: Sequence[Alert], host: str, language: Language) -> str:
    states: list[State] = [alert.state for alert in alerts]
    over = states.count("over")
    bad = len(states) - over
    if language == "zh":
        parts = [f"{bad} 个问题"] * bool(bad) + [f"{over} 个已恢复"] * bool(over)
        return f"one_api 告警（{host}）：{'，'.join(parts)}"
    problems = f"{bad} problem{'s' * (bad != 1)}"
    parts = [problems] * bool(bad) + [f"{over} over"] * bool(over)
    return f"one_api on {host}: {', '.join(parts)}"
