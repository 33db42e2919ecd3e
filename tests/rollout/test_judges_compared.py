"""The other tools' rules, as benchmarks/judges.py has them, and that docs/judge.md shows what was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import rankdata

from benchmarks import judges

ROOT = Path(judges.__file__).parent.parent


def stream(*bad: int) -> judges.Streams:
    """One run: so many of the candidate's 100 requests fail in each interval, and 1 of stable's 100."""
    e_c = np.array([bad])
    hundred, one = np.full_like(e_c, 100), np.ones_like(e_c)
    return judges.Streams(hundred, e_c, hundred, one, (hundred[:, :0], one[:, :0]))


@pytest.mark.parametrize(
    ("judge", "bad", "look"),
    [
        (judges.by_argo, (6, 5, 6, 6, 4, 6), 6),  # failureLimit 3 allows three measurements below 95 %
        (judges.by_argo, (6, 6, 6), 0),
        (judges.by_flagger, (2, 1, 2, 2, 2, 0, 2), 7),  # threshold 5 is the number of failed checks that ends it
        (judges.by_flagger, (1,) * 20, 0),
        (judges.by_z, (1, 1, 12), 3),
        (judges.by_z, (1,) * 20, 0),
    ],
)
def test_a_rule_of_thresholds_ends_a_release_when_its_documents_say(judge, bad: tuple[int, ...], look: int) -> None:  # type: ignore[no-untyped-def]
    assert judge(stream(*bad)).tolist() == [look]


def z_of_ranks(x: np.ndarray, y: np.ndarray, shift: float) -> float:
    """Mann and Whitney's statistic, standardised, for x moved down by `shift`."""
    m, n = len(x), len(y)
    ranks = rankdata(np.concatenate([x - shift, y]))
    return float((ranks[:m].sum() - m * (m + 1) / 2 - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12))


def test_the_bound_of_a_shift_is_where_the_rank_test_would_just_reject() -> None:
    """That is the definition of a confidence bound: no smaller shift is compatible with the data."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(1.0, 1.0, 30), rng.normal(0.0, 1.0, 40)
    lower, estimate = judges.location_shift(x, y)
    reject = NormalDist().inv_cdf(0.99)
    assert z_of_ranks(x, y, lower - 1e-9) >= reject > z_of_ranks(x, y, lower + 1e-9)
    assert z_of_ranks(x, y, estimate - 1e-9) >= 0 >= z_of_ranks(x, y, estimate + 1e-9)


def test_streams_have_the_rates_that_their_world_says() -> None:
    world = judges.World("x", odds_ratio=3, good=10)
    made = judges.streams(world, 2000, np.random.default_rng(1))
    assert made.e_c.shape == (2000, 70) and made.before[0].shape == (2000, judges.BEFORE)
    assert made.e_s.mean() / 950 == pytest.approx(0.01, rel=0.02)
    assert made.e_c[:, :10].mean() / 50 == pytest.approx(0.01, rel=0.05)
    assert made.e_c[:, 10:].mean() / 50 == pytest.approx(0.03 / (0.99 + 0.03), rel=0.02)


def test_the_tables_on_the_page_are_those_that_were_measured() -> None:
    result = json.loads((ROOT / "benchmarks" / "judges.json").read_text())
    page = (ROOT / "docs" / "judge.md").read_text()
    for table in judges.tables(result):
        assert "\n".join(table) in page


def test_fewer_releases_are_turned_back_falsely_than_promised() -> None:
    """10,000 good releases, 60 looks each: at most 1 % by the promise, with three standard errors of chance."""
    result = json.loads((ROOT / "benchmarks" / "judges.json").read_text())
    for world in judges.LONG:
        assert result["errors"][world]["ciflow"][0] <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / result["long"])


def test_with_users_counted_once_the_promise_holds_whatever_users_are_like_and_a_late_fault_is_found() -> None:
    result = json.loads((ROOT / "benchmarks" / "judges.json").read_text())
    for world in (world for world in judges.WORLDS if world.users == "visits"):
        turned_back = result["errors"][world.name]["ciflow"][0]
        assert turned_back >= 0.99 if world.is_fault else turned_back <= 0.01 + 3 * math.sqrt(0.0099 / result["runs"])
