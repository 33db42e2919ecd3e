"""Tests over several machines, so that all end at about the same time; and nextest's filters that say which."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from statistics import median

from ciflow.cargo.errors import ToolOutputError

LONGEST = 100_000  # bytes of a filter: one argument of a program may have 128 KiB (execve(2), MAX_ARG_STRLEN)


def split(tests: Iterable[str], seconds: Mapping[str, float], shards: int) -> list[list[str]]:
    """Longest first, each to the shard with least to do: at most 4/3 - 1/(3 shards) of the best split's time
    (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969). A test without a past counts as the median one.

    The same for whoever computes it from the same values, so that shards need not talk to each other.
    """
    usual = median(seconds.values()) if seconds else 1.0
    found: list[list[str]] = [[] for _ in range(shards)]
    load = [0.0] * shards
    for test in sorted(tests, key=lambda name: (-seconds.get(name, usual), name)):
        least = min(range(shards), key=lambda shard: (load[shard], shard))
        load[least] += seconds.get(test, usual)
        found[least].append(test)
    return found


def listed(text: str) -> list[str]:
    """The ids (binary id and name) of the tests that `cargo nextest list --message-format json` would run.

    Raises:
        ToolOutputError: it is something else.
    """
    try:
        suites = json.loads(text)["rust-suites"]
        return [
            f"{binary} {name}"
            for binary, suite in suites.items()
            for name, case in suite["testcases"].items()
            if not case["ignored"] and case["filter-match"]["status"] == "matches"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ToolOutputError(f"nextest's list of tests can't be read: {type(e).__name__} {e}") from e


def only(tests: Iterable[str]) -> str:
    """A filter for exactly these ids (https://nexte.st/docs/filtersets/); one that lets nothing through for none."""
    by_binary: dict[str, list[str]] = {}
    for test in tests:
        binary, _, name = test.partition(" ")
        by_binary.setdefault(binary, []).append(name)
    parts = [
        f"(binary_id(={_escaped(binary)}) & ({' | '.join(f'test(={_escaped(name)})' for name in names)}))"
        for binary, names in sorted(by_binary.items())
    ]
    return " | ".join(parts) or "none()"


def _escaped(text: str) -> str:
    """Where a name's own bracket or comma would end it; an opening bracket is plain to nextest, and no escape."""
    return re.sub(r"([\\),])", r"\\\1", text)
