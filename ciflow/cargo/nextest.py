"""What cargo-nextest is told: a profile where the workspace has none, and which tests run, gate and are retried."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ciflow.cargo.quarantine import Quarantined
from ciflow.cargo.shards import LONGEST, only, split
from ciflow.dataclass import dataclass

QUARANTINE = "ciflow-quarantine"  # the profile of tests that don't gate
RETRIES = 4  # what fails by itself in 30 of 100 runs then fails in one of 400


@dataclass(frozen=True)
class Limits:
    """Of one test: after `slow` seconds it is called slow, after `terminate` times that long it is ended."""

    slow: float
    terminate: int


def configuration(profile: str, limits: Limits, retried: Iterable[str] = (), junit: str = "junit.xml") -> str:
    """A file for `--tool-config-file`, which ranks below the workspace's own: whatever that says holds.

    Only `retried` tests are: a retry of all hides what is newly broken.
    """
    slow = f"{limits.slow:.0f}s" if limits.slow == int(limits.slow) else f"{limits.slow * 1000:.0f}ms"
    period = f'slow-timeout = {{ period = "{slow}", terminate-after = {limits.terminate} }}\n'
    text = "".join(
        f'[profile.{name}]\n{period}[profile.{name}.junit]\npath = "{junit}"\n' for name in (profile, QUARANTINE)
    )
    tests = sorted(retried)
    if not tests:
        return text
    retries = f'{{ backoff = "exponential", count = {RETRIES}, delay = "1s", jitter = true, max-delay = "30s" }}'
    head = f"[[profile.{profile}.overrides]]\n"
    return text + "".join(f"{head}filter = {json.dumps(only([one]))}\nretries = {retries}\n" for one in tests)


@dataclass(frozen=True)
class Part:
    """Which tests one machine runs, of all that there are. `gating` and `quarantined` are filters, "" for all and for
    none; `partition` is nextest's own way to choose, where durations are not known."""

    gating: str
    quarantined: str
    partition: str
    retried: tuple[str, ...]


def needs_list(shards: int, seconds: Mapping[str, float], *named: Sequence[object]) -> bool:
    """Whether the tests must be listed first: nextest refuses filters that name a binary which is not there."""
    return any(named) or (shards > 1 and bool(seconds))


def part(
    tests: Sequence[str], held: Sequence[Quarantined], flaky: Sequence[str], seconds: Mapping[str, float],
    shard: int, shards: int, user: str,
) -> Part:  # fmt: skip
    """What shard `shard` (from 1) of `shards` runs of these tests, which the filter `user` has chosen already."""
    known = {one.test for one in held}
    mine, partition = list(tests), ""
    if shards > 1 and seconds:
        mine = split(tests, seconds, shards)[shard - 1]
    aside = [test for test in mine if test in known]
    gating = only(test for test in mine if test not in known)
    if shards > 1 and (not seconds or len(gating) > LONGEST):
        partition = f"slice:{shard}/{shards}"
        aside = [test for test in tests if test in known]
    if partition or (shards == 1 and aside):
        gating = _both(user, f"not ({only(aside)})" if aside else "")
    elif shards == 1:
        gating = user
    there = set(tests)
    return Part(gating, only(aside) if aside else "", partition, tuple(sorted(there.intersection(flaky) - known)))


def _both(one: str, other: str) -> str:
    return f"({one}) & {other}" if one and other else one or other
