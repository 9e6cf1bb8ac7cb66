import pytest

from benchmarks.statistics import median, quantile, trend


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)], ids=str
)
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert expected == quantile(list(range(100, 0, -1)), share)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3, 1, 2], 2), ([4, 1, 2, 3], 2.5), ([7], 7)],
    ids=["odd", "even", "one"],
)
def test_the_median_is_in_the_middle(values: list[float], expected: float) -> None:
    assert expected == median(values)


def test_nothing_has_no_quantile_and_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
    with pytest.raises(ValueError, match="no values"):
        median([])


def test_a_line_has_its_slope_and_no_error() -> None:
    line = trend([(x, 3 * x + 1) for x in range(10)])

    assert pytest.approx(3) == line.slope
    assert pytest.approx(0, abs=1e-9) == line.standard_error
    assert not line.is_flat


def test_noise_about_a_level_is_flat() -> None:
    assert trend([(x, 5 + (-1) ** x) for x in range(40)]).is_flat


@pytest.mark.parametrize(
    "points", [[(0, 1), (1, 2)], [(1, 1), (1, 2), (1, 3)]], ids=["too few", "one place"]
)
def test_a_trend_needs_points_apart(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="points"):
        trend(points)
