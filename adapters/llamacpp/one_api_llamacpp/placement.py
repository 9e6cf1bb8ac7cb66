"""Where an answer is worked on: the slot that holds most of its prompt, and memory for the rest."""

from __future__ import annotations

from typing import Final

from one_api_llamacpp.batch_model import BatchModel
from one_api_llamacpp.jobs import Run
from one_api_llamacpp.sequences import SequenceTable, Slot, common_prefix

#: What the wait for a prompt that another one is reading must save, in tokens.
_LEAD: Final = 32


class Placement:
    """Finds places for runs in `table`. On the engine's thread only."""

    def __init__(self, model: BatchModel, table: SequenceTable[Run]) -> None:
        self._model = model
        self._table = table

    def is_led(self, run: Run) -> bool:
        """Whether somebody is reading the same prompt now: a copy of theirs will cost nothing."""
        if not self._model.can_fork:
            return False
        limit = len(run.tokens) - 1
        _, held = self._table.longest_prefix(run.tokens, limit)
        return any(
            min(common_prefix(slot.run.tokens, run.tokens), limit) >= held + _LEAD
            for slot in self._table.slots
            if slot.run is not None and len(slot.tokens) < len(slot.run.tokens) - 1
        )

    def find(self, run: Run) -> Slot[Run] | None:
        """An idle slot with what is held of the beginning of `run`; None while memory is short.

        There is an idle slot. With no other run at work, memory is never short.
        """
        table = self._table
        # The last token is always evaluated: the first of the answer is sampled from its logits.
        source, length = table.longest_prefix(run.tokens, len(run.tokens) - 1)
        others = [slot for slot in table.idle() if slot is not source]
        need = run.reserve() - length + self._outstanding()
        if source is not None and source.run is None and _goes_on(source, length, others):
            return self._in_place(source, length, need)
        target = others[0]
        table.truncate(target, 0)
        while table.free < need and table.evict(but=source):
            pass
        if table.free >= need:
            if source is not None:
                table.fork(source, target, length)
            return target
        if source is not None and source.run is None:
            return self._in_place(source, length, need)
        return None

    def _in_place(self, slot: Slot[Run], length: int, need: int) -> Slot[Run] | None:
        """`slot` with its first `length` tokens, if that leaves room for `need` more."""
        table = self._table
        while table.room_after_truncating(slot, length) < need:
            if not table.evict(but=slot):
                return None
        table.truncate(slot, length)
        return slot

    def _outstanding(self) -> int:
        """Cells that are reserved for those at work and not taken yet."""
        return sum(
            max(0, slot.run.reserved - len(slot.tokens))
            for slot in self._table.slots
            if slot.run is not None
        )


def _goes_on(source: Slot[Run], length: int, others: list[Slot[Run]]) -> bool:
    """Whether a run takes what `source` holds over; else it gets a copy of the part it needs.

    What a conversation left is gone on with. A small part of something is likely to be the
    instructions that many conversations begin with, and the rest somebody's who may come back.
    """
    return not others or 2 * length >= len(source.tokens)
