"""What a model wrote: pieces of its text that know their place, and the calls in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """A piece of an answer's text; `start` counts the characters of all that came before."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call; `arguments` is JSON text."""

    name: str
    arguments: str


class TextBuffer:
    """Text that arrived, up to where it was passed on or dropped."""

    def __init__(self) -> None:
        self.text = ""
        self._start = 0
        self._skips_space = False

    def add(self, text: str) -> None:
        """Append what arrived."""
        self.text += text
        if self._skips_space:
            self.skip_space()

    def skip_space(self) -> None:
        """Drop white space up to the next other character, whenever that comes."""
        self.drop(len(self.text) - len(self.text.lstrip()))
        self._skips_space = not self.text

    def drop(self, count: int) -> None:
        """Leave the first `count` characters out."""
        self.text = self.text[count:]
        self._start += count

    def take(self, count: int) -> list[Written]:
        """The first `count` characters, if any, as text of the answer."""
        written = [Written(self.text[:count], self._start)] if count else []
        self.drop(count)
        return written

    def certain(self, marker: str, ended: bool) -> int:
        """How many characters come before anything that may become `marker`."""
        if ended:
            return len(self.text)
        sizes = range(min(len(self.text), len(marker) - 1), 0, -1)
        return len(self.text) - next((n for n in sizes if self.text.endswith(marker[:n])), 0)
