"""The table of the benchmarks adds up."""

from __future__ import annotations

from tests.benchmarks.timing import Case, Timing, measure_case, table


def test_ratio_is_median_over_median_of_the_first_of_the_group():
    def timing(group: str, name: str, *seconds: float) -> Timing:
        return Timing(Case(group, name, print), seconds)

    lines = table(
        [timing("a", "small", 0.1, 0.3, 0.2), timing("a", "large", 0.5), timing("b", "other", 1.0)]
    ).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["a", "small", "200.0", "100.0", "300.0", "1.00"],
        ["a", "large", "500.0", "500.0", "500.0", "2.50"],
        ["b", "other", "1000.0", "1000.0", "1000.0", "1.00"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_the_warm_up_is_not_counted():
    calls = []
    timing = measure_case(Case("a", "count", lambda: calls.append(1), repeats=3))
    assert (len(calls), len(timing.seconds)) == (4, 3)
