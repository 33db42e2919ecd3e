"""Which tasks `--tags` and `--skip-tags` leave: the cases Ansible documents, and where two rules meet."""

from __future__ import annotations

import pytest

from ciflow.plan.tags import selected


@pytest.mark.parametrize(
    ("tags", "only", "skip", "runs"),
    [
        ("", "", "", True),
        ("a", "", "", True),
        ("never", "", "", False),
        ("never a", "a", "", True),
        ("never a", "never", "", True),
        ("never a", "all", "", False),
        ("never a", "all never", "", True),
        ("never a", "tagged", "", False),
        ("a", "tagged", "", True),
        ("", "tagged", "", False),
        ("", "untagged", "", True),
        ("a", "untagged", "", False),
        ("always", "a", "", True),
        ("always", "untagged", "", True),
        ("always", "never", "", True),
        ("always", "", "always", False),
        ("always", "", "all", True),
        ("always", "", "all always", False),
        ("always", "", "tagged", False),
        ("a", "", "all", False),
        ("a", "a", "a", False),
        ("a b", "a", "b", False),
        ("a", "", "tagged", False),
        ("", "", "tagged", True),
        ("", "", "untagged", False),
    ],
)
def test_ansibles_rule(tags: str, only: str, skip: str, runs: bool) -> None:
    assert selected(frozenset(tags.split()), frozenset(only.split()), frozenset(skip.split())) is runs
