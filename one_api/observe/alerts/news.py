"""What an operator may want to hear of, as values; and in which words, English and Chinese."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from one_api.redaction import redact

Language = Literal["en", "zh"]
Severity = Literal["critical", "warning"]

#: Longest subject and fact that is told, in characters: both may come from clients and providers.
MAX_CHARS: Final = 160


@dataclass(frozen=True, slots=True)
class Words:
    """One language's sentences for the trouble and its end, with `{subject}` and the facts."""

    trouble: str
    over: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of trouble; one whose words have no `over` has no end, but is done when it is told."""

    severity: Severity
    en: Words
    zh: Words

    def words(self, language: Language) -> Words:
        """Its sentences in `language`."""
        return self.zh if language == "zh" else self.en


KINDS: Final[Mapping[str, Kind]] = {
    "breaker_opened": Kind(
        "warning",
        Words("Deployment {subject} is left aside: {reason}", "Deployment {subject} answers again"),
        Words("部署 {subject} 已熔断：{reason}", "部署 {subject} 已恢复"),
    ),
    "credential_refused": Kind(
        "critical",
        Words(
            "The provider refuses the credential of {subject}: {reason}",
            "The provider takes the credential of {subject} again",
        ),
        Words("上游拒绝了 {subject} 的凭证：{reason}", "上游重新接受了 {subject} 的凭证"),
    ),
    "model_down": Kind(
        "critical",
        Words("All deployments of model {subject} are down", "Model {subject} is served again"),
        Words("模型 {subject} 的所有部署均不可用", "模型 {subject} 已恢复服务"),
    ),
    "error_rate": Kind(
        "critical",
        Words(
            "{failed} of {total} requests failed within {window_s} s ({percent} %)",
            "Requests succeed again: {failed} of {total} failed within {window_s} s",
        ),
        Words(
            "{window_s} 秒内 {total} 个请求中有 {failed} 个失败（{percent}%）",
            "请求已恢复正常：{window_s} 秒内 {total} 个请求中有 {failed} 个失败",
        ),
    ),
    "request_failed": Kind(
        "warning",
        Words(
            "A request for model {subject} failed after {attempts} attempts: {code} "
            "(request {request_id})",
            "Requests for model {subject} are answered again",
        ),
        Words(
            "模型 {subject} 的请求在 {attempts} 次尝试后失败：{code}（请求 {request_id}）",
            "模型 {subject} 的请求已恢复应答",
        ),
    ),
    "budget_low": Kind(
        "warning",
        Words("API key {subject} has used {percent} % of its budget", "API key {subject} has room"),
        Words("API 密钥 {subject} 已使用预算的 {percent}%", "API 密钥 {subject} 的预算已充足"),
    ),
    "budget_exhausted": Kind(
        "critical",
        Words(
            "API key {subject} has used up its budget ({percent} %)",
            "API key {subject} has budget again",
        ),
        Words("API 密钥 {subject} 的预算已用尽（{percent}%）", "API 密钥 {subject} 的预算已恢复"),
    ),
    "storage_lost": Kind(
        "critical",
        Words(
            "The database does not answer; {pending} records wait in the journal",
            "The database answers again",
        ),
        Words("数据库无响应；{pending} 条记录在日志中等待写入", "数据库已恢复"),
    ),
    "redis_lost": Kind(
        "critical",
        Words("Redis does not answer: limits are not shared", "Redis answers again"),
        Words("Redis 无响应：限额无法共享", "Redis 已恢复"),
    ),
    "worker_crashed": Kind(
        "critical",
        Words("A local worker crashed, {subject}: {reason}", "The local worker {subject} is back"),
        Words("本地工作进程崩溃，{subject}：{reason}", "本地工作进程 {subject} 已恢复"),
    ),
    "adapter_notice": Kind(
        "warning",
        Words("Adapter {subject}: {reason}", "Adapter {subject}: it is over: {reason}"),
        Words("适配器 {subject}：{reason}", "适配器 {subject}：问题已解除：{reason}"),
    ),
    "test": Kind(
        "warning",
        Words("This is a test of {subject}: alerts arrive"),
        Words("这是 {subject} 的测试：告警可以送达"),
    ),
}


@dataclass(frozen=True, slots=True)
class News:
    """Trouble, or with `is_recovery` its end; both have the same `kind`, of `KINDS`, and `subject`.

    `facts` fill in the sentences of the kind. Subject and facts may be whatever clients and
    providers said: they are cut, and cleaned of secrets and of what could steer a screen.
    """

    kind: str
    subject: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    is_recovery: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", clean(self.subject))
        facts = {name: clean(fact) for name, fact in self.facts.items()}
        object.__setattr__(self, "facts", facts)

    @property
    def key(self) -> str:
        """What makes two news be about the same."""
        return f"{self.kind} {self.subject}"

    def sentence(self, language: Language) -> str:
        """It in words."""
        words = KINDS[self.kind].words(language)
        template = words.over if self.is_recovery else words.trouble
        # One pass: what stands in a fact is never taken for a place to fill in.
        return template.format_map(_Known({**self.facts, "subject": self.subject}))


def new_tally() -> Counter[str]:
    """Counts by kind, all of them 0: Prometheus sees nothing happen to what begins at 1.

    As no kind is ever added, it may be read while others count.
    """
    return Counter({kind: 0 for kind in KINDS if kind != "test"})


class _Known(dict[str, "str | int"]):
    """Facts by name; one that nobody told is a dash."""

    def __missing__(self, name: str) -> str:
        return "-"


def clean(value: str | int) -> str | int:
    """`value` on one short line, without secrets, links and what could steer a screen."""
    if isinstance(value, int):
        return value
    # Looked at only in part: somebody may have sent a megabyte.
    text = redact(value[: 4 * MAX_CHARS])
    shown = "".join(" " if unicodedata.category(char) in _UNSEEN else char for char in text)
    # Chats make links of what looks like one, and operators trust what the gateway tells.
    short = " ".join(shown.split()).replace("://", ":/ /")
    return short if len(short) <= MAX_CHARS else short[: MAX_CHARS - 1] + "…"


#: Control characters, such as change the direction of text, halves of characters, line breaks.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
