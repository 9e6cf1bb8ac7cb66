"""What is told, and what is not, by a clock that the tests hold."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from one_api.observe.alerts import Board, BoardRules, News
from one_api.observe.alerts.board import MAX_ENTRIES, SharedBoard

RULES = BoardRules(quiet_s=300, repeat_s=3600)
DOWN = News("breaker_opened", "a/m", {"reason": "timeouts"})
UP = News("breaker_opened", "a/m", is_recovery=True)
OTHER = News("breaker_opened", "b/m")
FAILED = News("test", "slack")

#: News or None (a look without any) at seconds, and what is told then.
Story = list[tuple[float, News | None, list[str]]]

STORIES: dict[str, Story] = {
    "the same trouble is told once": [
        (0, DOWN, ["open"]), (1, DOWN, []), (3599, DOWN, []),
    ],
    "what goes on is told again, and counts from there": [
        (0, DOWN, ["open"]), (3600, DOWN, ["still_open"]), (3700, DOWN, []),
        (7200, DOWN, ["still_open"]),
    ],
    "nobody reminds of what nobody reports": [
        (0, DOWN, ["open"]), (9000, None, []),
    ],
    "its end is told once": [
        (0, DOWN, ["open"]), (5, UP, ["over"]), (6, UP, []),
    ],
    "the end of what never was is not told": [
        (0, UP, []), (1, DOWN, ["open"]),
    ],
    "what flaps is told once in the quiet time": [
        (0, DOWN, ["open"]), (5, UP, ["over"]), (10, DOWN, []), (15, UP, []), (20, DOWN, []),
        (25, UP, []), (400, None, []),
    ],
    "what came back and stayed is told after the quiet time": [
        (0, DOWN, ["open"]), (5, UP, ["over"]), (10, DOWN, []), (304, None, []),
        (305, None, ["open"]), (306, None, []), (310, UP, ["over"]),
    ],
    "after the quiet time all is new": [
        (0, DOWN, ["open"]), (5, UP, ["over"]), (305, DOWN, ["open"]),
    ],
    "a clock that is set back holds nothing for ever": [
        (1000, DOWN, ["open"]), (1005, UP, ["over"]), (10, DOWN, ["open"]),
    ],
    "subjects are told apart": [
        (0, DOWN, ["open"]), (1, OTHER, ["open"]), (2, UP, ["over"]), (3, OTHER, []),
    ],
    "what has no end is told each time": [
        (0, FAILED, ["open"]), (1, FAILED, ["open"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_stories(story: Story) -> None:
    board = Board(RULES)
    for at_s, news, told in story:
        alerts = board.sift([] if news is None else [news], at_s)
        assert told == [alert.state for alert in alerts], at_s


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_stories_that_two_processes_live_through_in_turns(story: Story, tmp_path: Path) -> None:
    boards = [SharedBoard(tmp_path / "alerts", RULES) for _ in range(2)]
    for board in boards:
        board.open()
    for turn, (at_s, news, told) in enumerate(story):
        alerts = boards[turn % 2].sift([] if news is None else [news], at_s)
        assert told == [alert.state for alert in alerts], at_s
    for board in boards:
        board.close()


def test_the_oldest_is_forgotten_of_too_many() -> None:
    board = Board(RULES)
    many = [News("model_down", str(number)) for number in range(MAX_ENTRIES + 1)]
    for at_s, news in enumerate(many):
        board.sift([news], at_s)
    assert MAX_ENTRIES == len(board.open)
    assert "0" not in {news.subject for news in board.open}


def tell_all(directory: Path, told: multiprocessing.Queue[int]) -> None:
    board = SharedBoard(directory, RULES)
    board.open()
    news = [News("model_down", str(number)) for number in range(50)]
    told.put(sum(len(board.sift([one], 100.0)) for one in news))
    board.close()


class TestShared:
    @pytest.mark.slow
    def test_processes_at_one_time_tell_everything_once(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        keeper = SharedBoard(tmp_path / "alerts", RULES)
        keeper.open()
        told: multiprocessing.Queue[int] = context.Queue()
        workers = [
            context.Process(target=tell_all, args=(tmp_path / "alerts", told)) for _ in range(3)
        ]
        for worker in workers:
            worker.start()
        counts = [told.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join(60)
        keeper.close()
        assert 50 == sum(counts)

    def test_a_new_beginning_knows_nothing_of_yesterday(self, tmp_path: Path) -> None:
        first = SharedBoard(tmp_path, RULES)
        first.open()
        first.sift([DOWN], 0.0)
        first.close()
        second = SharedBoard(tmp_path, RULES)
        second.open()
        assert ["open"] == [alert.state for alert in second.sift([DOWN], 1.0)]
        third = SharedBoard(tmp_path, RULES)
        third.open()
        assert [] == third.sift([DOWN], 2.0)
        second.close()
        third.close()

    def test_without_a_directory_each_decides_for_itself(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        board = SharedBoard(tmp_path / "file" / "alerts", RULES)
        board.open()
        assert ["open"] == [alert.state for alert in board.sift([DOWN], 0.0)]
        assert [] == board.sift([DOWN], 1.0)
        assert "alerts are not shared between processes" in caplog.text

    def test_what_cannot_be_read_is_told_anew_not_raised(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        board = SharedBoard(tmp_path, RULES)
        board.open()
        (tmp_path / "board.json").write_bytes(b'{"x": [1]}')
        assert ["open"] == [alert.state for alert in board.sift([DOWN], 0.0)]
        assert "cannot be read" in caplog.text
        assert [] == board.sift([DOWN], 1.0)
        board.close()
