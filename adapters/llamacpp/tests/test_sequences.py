from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.batch_models import HashModel
from one_api_llamacpp.sequences import CellLedger, SequenceTable, common_prefix

SEQUENCES = 4


@given(st.data())
def test_the_ledger_counts_every_cell_once(data: st.DataObject) -> None:
    ledger = CellLedger(SEQUENCES)
    held: list[list[object]] = [[] for _ in range(SEQUENCES)]
    sequence = st.integers(0, SEQUENCES - 1)
    for _ in range(data.draw(st.integers(0, 30))):
        one, other = data.draw(sequence), data.draw(sequence)
        event = data.draw(st.sampled_from(["extend", "truncate", "share"]))
        count = data.draw(st.integers(0, 9 if event == "extend" else len(held[one])))
        if event == "extend":
            ledger.extend(one, count)
            held[one] += [object() for _ in range(count)]
        elif event == "truncate":
            without = {cell for number, cells in enumerate(held) if number != one for cell in cells}
            freed = len(set(held[one][count:]) - without)
            assert freed == ledger.owned(one, count)
            ledger.truncate(one, count)
            del held[one][count:]
        elif one != other and not held[other]:
            ledger.share(one, other, count)
            held[other] = held[one][:count]
        assert len({cell for cells in held for cell in cells}) == ledger.used


@given(
    st.lists(st.integers(0, 1), max_size=12),
    st.lists(st.integers(0, 1), max_size=12),
)
def test_the_common_prefix_is_as_long_as_a_loop_finds(left: list[int], right: list[int]) -> None:
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    assert length == common_prefix(left, right)


def test_a_state_that_cannot_be_cut_is_given_up() -> None:
    model = HashModel(can_fork=False, sequences=1)
    table: SequenceTable[str] = SequenceTable(model)
    (slot,) = table.slots
    table.add(slot, [1, 2, 3])
    table.truncate(slot, 2)
    assert ([], 0) == (slot.tokens, table.used)
