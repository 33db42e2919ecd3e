"""What is kept of releases, so that a rollback can deploy one again."""

from __future__ import annotations

from dataclasses import replace

from ciflow.store.folds import Release, to_keep

GOOD = Release("shop", "1", "a", 0, "good", observed_good=1.0, since=1.0, who="ada", run="R-1", play="roll-out")


def test_the_keys_of_the_two_newest_good_releases_of_each_service_are_kept() -> None:
    newest_first = [
        replace(GOOD, run="R-9", state="failed", observed_good=0.0),
        replace(GOOD, run="R-8"),
        replace(GOOD, run="R-7", service="api"),
        replace(GOOD, run="R-6", state="rolled_back", observed_good=0.0),
        replace(GOOD, run="R-5"),
        replace(GOOD, run="R-4"),
    ]
    assert to_keep(newest_first) == {"R-8", "R-7", "R-5"}
    assert to_keep([]) == set()
