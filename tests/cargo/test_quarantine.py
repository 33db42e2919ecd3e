"""The quarantine's file: what is written is read again, what is wrong is said, and every entry has an end."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.quarantine import Quarantined, read, with_test, write

NOW = datetime(2026, 11, 25, 23, 59, tzinfo=UTC).timestamp()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
ENTRY = st.builds(Quarantined, TEXT, TEXT, TEXT, st.dates(), st.dates())


@given(st.lists(ENTRY, unique_by=lambda one: one.test))
def test_what_is_written_is_toml_and_reads_the_same(entries: list[Quarantined]) -> None:
    text = write(entries)
    tomllib.loads(text)
    assert sorted(read(text), key=lambda one: one.test) == sorted(entries, key=lambda one: one.test)


def test_a_test_gates_again_on_the_day_that_its_quarantine_ends() -> None:
    (one,) = with_test((), "bin t", "ada", "#1", NOW)
    assert (one.since, one.expires) == (date(2026, 11, 25), date(2026, 12, 9))
    assert one.active(NOW)
    assert one.active(datetime(2026, 12, 8, 23, 59, tzinfo=UTC).timestamp())
    assert not one.active(datetime(2026, 12, 9, tzinfo=UTC).timestamp())


def test_a_longer_quarantine_keeps_the_day_it_began() -> None:
    first = with_test((), "bin t", "ada", "#1", NOW)
    (again,) = with_test(first, "bin t", "bob", "#2", NOW + 10 * 86_400)
    assert (again.since, again.expires, again.owner) == (date(2026, 11, 25), date(2026, 12, 19), "bob")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[quarantined]]\ntest = 'a'\n", "needs test, owner, reason, since and expires"),
        ("quarantined = 1\n", "list of"),
        ("other = 1\n", "nothing else"),
        ("[[quarantined", "not TOML"),
        ("[[quarantined]]\ntest='a'\nowner=''\nreason='r'\nsince=2026-01-01\nexpires=2026-01-02\n", "owner is to be"),
        ("[[quarantined]]\ntest='a'\nowner='o'\nreason='r'\nsince='x'\nexpires=2026-01-02\n", "since is to be a day"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ToolOutputError, match=said):
        read(text)
