"""The sequences of a model: what each holds, and how many cells that takes in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from one_api_llamacpp.batch_model import BatchModel

Run = TypeVar("Run")


class CellLedger:
    """Counts the cells that sequences take, those that several share only once."""

    def __init__(self, sequences: int) -> None:
        self._ids = count()
        self._cells: list[list[int]] = [[] for _ in range(sequences)]
        self._shares: Counter[int] = Counter()

    @property
    def used(self) -> int:
        """Cells that hold something."""
        return len(self._shares)

    def extend(self, sequence: int, tokens: int) -> None:
        """Give `sequence` so many cells of its own."""
        new = [next(self._ids) for _ in range(tokens)]
        self._cells[sequence] += new
        self._shares.update(new)

    def truncate(self, sequence: int, tokens: int) -> None:
        """Take all but the first `tokens` cells from `sequence`."""
        for cell in self._cells[sequence][tokens:]:
            self._shares[cell] -= 1
            if not self._shares[cell]:
                del self._shares[cell]
        del self._cells[sequence][tokens:]

    def share(self, source: int, target: int, tokens: int) -> None:
        """Have `target`, which has none, share the first `tokens` cells of `source`."""
        shared = self._cells[source][:tokens]
        self._cells[target] = shared
        self._shares.update(shared)

    def owned(self, sequence: int, tokens: int) -> int:
        """Cells that would be free if `sequence` only had its first `tokens`."""
        return sum(self._shares[cell] == 1 for cell in self._cells[sequence][tokens:])


@dataclass(eq=False, slots=True)
class Slot(Generic[Run]):
    """One sequence: the tokens it holds, and whose they are while somebody works with it."""

    number: int
    tokens: list[int] = field(default_factory=list)
    run: Run | None = None
    #: When it was last given to or left by a run, counted in such events.
    touched: int = 0


class SequenceTable(Generic[Run]):
    """Keeps the slots, the ledger and the model's memory in step. On the engine's thread only."""

    def __init__(self, model: BatchModel) -> None:
        self._model = model
        self._ledger = CellLedger(model.sequences)
        self._touches = count(1)
        self.slots: list[Slot[Run]] = [Slot(number) for number in range(model.sequences)]

    @property
    def used(self) -> int:
        """Cells that hold something."""
        return self._ledger.used

    @property
    def free(self) -> int:
        """Cells that hold nothing."""
        return self._model.cells - self._ledger.used

    def active(self) -> list[Slot[Run]]:
        """The slots somebody works with, who came first first."""
        return sorted(
            (slot for slot in self.slots if slot.run is not None), key=lambda slot: slot.touched
        )

    def idle(self) -> list[Slot[Run]]:
        """The other slots, the one unused longest first, empty ones before all."""
        return sorted(
            (slot for slot in self.slots if slot.run is None),
            key=lambda slot: (bool(slot.tokens), slot.touched),
        )

    def assign(self, slot: Slot[Run], run: Run | None) -> None:
        """Give `slot` to `run`, or take it back; what it holds stays."""
        slot.run = run
        slot.touched = next(self._touches)

    def add(self, slot: Slot[Run], tokens: Sequence[int]) -> None:
        """Note that the model evaluated `tokens` for `slot`."""
        slot.tokens += tokens
        self._ledger.extend(slot.number, len(tokens))

    def truncate(self, slot: Slot[Run], tokens: int) -> None:
        """Have `slot` forget all but the first `tokens`, or all where that cannot be."""
        if not self._model.keep(slot.number, tokens):
            tokens = 0
        del slot.tokens[tokens:]
        self._ledger.truncate(slot.number, tokens)

    def fork(self, source: Slot[Run], target: Slot[Run], tokens: int) -> None:
        """Have `target` begin with the first `tokens` of `source`."""
        self.truncate(target, 0)
        self._model.copy(source.number, target.number, tokens)
        self._ledger.share(source.number, target.number, tokens)
        target.tokens = source.tokens[:tokens]

    def room_after_truncating(self, slot: Slot[Run], tokens: int) -> int:
        """Free cells if `slot` only held its first `tokens`."""
        return self.free + self._ledger.owned(slot.number, tokens)

    def evict(self, *, but: Slot[Run] | None = None) -> bool:
        """Empty the idle slot unused longest; whether there was one with something in it."""
        for slot in self.idle():
            if slot.tokens and slot is not but:
                self.truncate(slot, 0)
                return True
        return False

    def longest_prefix(self, tokens: Sequence[int], limit: int) -> tuple[Slot[Run] | None, int]:
        """The slot that holds most of the beginning of `tokens`, at most `limit`, and how much."""
        best: Slot[Run] | None = None
        length = 0
        for slot in self.slots:
            common = min(common_prefix(slot.tokens, tokens), limit)
            if common > length and self._can_begin_with(slot, common):
                best, length = slot, common
        return best, length

    def _can_begin_with(self, slot: Slot[Run], tokens: int) -> bool:
        if self._model.can_fork:
            return True
        # Only a whole state can be gone on with, and only by one.
        return slot.run is None and tokens == len(slot.tokens)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many items both begin with."""
    low, high = 0, min(len(left), len(right))
    if low == high or left[0] != right[0]:
        return 0
    # Slices compare at C speed, so halving beats a loop over items.
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
