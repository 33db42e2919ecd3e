"""Tests split over machines: nothing lost, nothing twice, and no machine much longer than it must be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.nextest import Limits, configuration, part
from ciflow.cargo.shards import LONGEST, listed, only, split

NAMES = st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=30)


@given(NAMES, st.integers(1, 6), st.data())
def test_every_test_is_in_exactly_one_shard(names: list[str], shards: int, data: st.DataObject) -> None:
    known = data.draw(st.dictionaries(st.sampled_from(names), st.floats(0, 100))) if names else {}
    found = split(names, known, shards)
    assert len(found) == shards
    assert sorted(test for shard in found for test in shard) == sorted(names)


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=24), st.integers(1, 5))
def test_no_shard_is_longer_than_graham_promises(times: list[float], shards: int) -> None:
    """Of any order of the list: the mean load and (1 - 1/m) of the longest test (R. L. Graham, 1966)."""
    known = {str(number): taken for number, taken in enumerate(times)}
    longest = max(sum(known[test] for test in shard) for shard in split(known, known, shards))
    assert longest <= sum(times) / shards + (1 - 1 / shards) * max(times) + 1e-6


def test_the_textbook_example_is_split_evenly() -> None:
    """8 7 6 5 4 on two machines by the longest first: 8 5 4 and 7 6 (Graham's rule, done by hand)."""
    known = {name: float(name) for name in "87654"}
    assert [sorted(shard) for shard in split(known, known, 2)] == [["4", "5", "8"], ["6", "7"]]


def test_filters_name_tests_exactly_and_escape_what_nextest_reads_as_syntax() -> None:
    assert only([]) == "none()"
    assert only(["a::b t::one", "c two", "a::b t::x(1,2)"]) == (
        r"(binary_id(=a::b) & (test(=t::one) | test(=t::x(1\,2\)))) | (binary_id(=c) & (test(=two)))"
    )


def test_a_filter_too_long_for_an_argument_gives_way_to_slices() -> None:
    tests = [f"binary {'x' * 100}{number}" for number in range(LONGEST // 50)]
    assert part(tests, (), (), {tests[0]: 1.0}, 1, 2, "").partition == "slice:1/2"
    assert part(tests[:10], (), (), {tests[0]: 1.0}, 1, 2, "").partition == ""


def test_ignored_and_filtered_tests_are_not_listed() -> None:
    def case(ignored: bool, status: str) -> dict[str, object]:
        return {"ignored": ignored, "filter-match": {"status": status}}

    cases = {"a": case(False, "matches"), "b": case(True, "matches"), "c": case(False, "mismatch")}
    assert listed(json.dumps({"rust-suites": {"bin": {"testcases": cases}}})) == ["bin a"]
    with pytest.raises(ToolOutputError):
        listed("{}")


def test_retries_are_for_the_named_tests_only() -> None:
    plain, flaky = configuration("ci", Limits(60, 3)), configuration("ci", Limits(0.5, 3), ["bin a"])
    assert "retries" not in plain
    assert flaky.count("retries") == 1
    assert 'period = "500ms"' in flaky
