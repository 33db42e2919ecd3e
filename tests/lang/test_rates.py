"""Rates: those that ciflow has, and faults in a file of one's own."""

from __future__ import annotations

import calendar
from decimal import Decimal
from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid, Refused
from ciflow.lang.rates import SHIPPED, rates_of

TODAY = float(calendar.timegm((2026, 11, 26, 0, 0, 0)))
# "Actions runner pricing" of GitHub's documentation, as it stood on 2026-11-26: USD a minute.
PUBLISHED = {
    "linux-1": "0.002", "linux-2": "0.006", "linux-4": "0.012", "linux-8": "0.022", "linux-16": "0.042",
    "linux-arm-2": "0.005", "linux-arm-4": "0.008", "windows-2": "0.010", "windows-4": "0.022", "macos": "0.062",
}  # fmt: skip
OWN = """
currency: USD
rates:
  - {on: self-hosted, price: 0.1, per: hour, from: 2026-06-01, source: our bill}
  - {on: linux-2, price: 0.0045, per: minute, from: 2026-06-01, source: our contract}
  - {on: big, price: 3, per: hour, from: 2026-06-01, source: our bill, environment: self-hosted, cores: 64}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rates.yml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(Invalid) as caught:
        rates_of(written(folder, text))
    return [(one.span.line if one.span else 0, one.message) for one in caught.value.diagnostics]


def test_githubs_runners_cost_what_is_published_in_whole_minutes() -> None:
    known = rates_of(None)
    for name, price in PUBLISHED.items():
        rate = known.of(name, TODAY)
        assert rate is not None and (rate.price, rate.per, rate.round_up) == (Decimal(price), "minute", 60_000_000)
        assert rate.since == "2026-01-01" and rate.source.startswith("https://docs.github.com/")


@pytest.mark.parametrize(
    ("os", "arch", "cores", "name"),
    [("Linux", "X64", 4, "linux-4"), ("Linux", "ARM64", 4, "linux-arm-4"), ("Windows", "X64", 4, "windows-4"),
     ("macOS", "ARM64", 3, "macos"), ("Linux", "X64", 6, "github-hosted Linux X64 with 6 cores")],
)  # fmt: skip
def test_a_runner_of_githubs_is_known_by_its_system_processor_and_cores(
    os: str, arch: str, cores: int, name: str
) -> None:
    machine = {"environment": "github-hosted", "os": os, "arch": arch, "cores": cores}
    assert rates_of(None).name_of(machine) == name


def test_no_rate_holds_before_its_day() -> None:
    before = float(calendar.timegm((2025, 12, 31, 23, 59, 59)))
    assert rates_of(None).of("linux-2", before) is None
    assert rates_of(None).of("linux-2", before + 1) is not None


def test_ones_own_rates_win_over_those_that_ciflow_has(tmp_path: Path) -> None:
    rates = rates_of(written(tmp_path, OWN))
    found = {name: rates.of(name, TODAY) for name in ("self-hosted", "linux-2", "linux-4")}
    assert {name: rate.price for name, rate in found.items() if rate} == {
        "self-hosted": Decimal("0.1"), "linux-2": Decimal("0.0045"), "linux-4": Decimal("0.012"),
    }  # fmt: skip
    assert rates.name_of({"environment": "self-hosted", "cores": 64}) == "big"
    assert rates.name_of({"environment": "self-hosted", "cores": 8}) == "self-hosted"
    before = float(calendar.timegm((2026, 5, 1, 0, 0, 0)))
    assert rates.of("linux-2", before) is None, "what ciflow has of a name that is yours counts no more"


def test_in_another_currency_only_ones_own_rates_count(tmp_path: Path) -> None:
    rates = rates_of(written(tmp_path, OWN.replace("USD", "EUR")))
    assert (rates.currency, rates.of("linux-4", TODAY)) == ("EUR", None)


def test_a_price_is_what_is_written_to_the_last_digit(tmp_path: Path) -> None:
    rates = rates_of(written(tmp_path, OWN.replace("0.0045", "0.00450000000000000001")))
    rate = rates.of("linux-2", TODAY)
    assert rate is not None and rate.price == Decimal("0.00450000000000000001")


def test_all_faults_are_told_each_at_its_place(tmp_path: Path) -> None:
    text = """currency: dollars
rates:
  - {on: linux-2, price: -1, per: minute, from: 2026-01-01, source: x, kores: 2}
  - {on: linux-4, price: .nan, per: day, from: soon}
"""
    assert faults(tmp_path, text) == [
        (1, "`currency` can't be `dollars`"),
        (3, "`price` can't be `-1`"),
        (3, "unknown keyword `kores` in `rates`"),
        (4, "`price` can't be `nan`"),
        (4, "`per` can't be `day`; it is one of minute, hour, GB-month, GiB-month"),
        (4, "`from` can't be `soon`"),
        (4, "`rates` needs `source`"),
    ]


def test_units_and_days_that_mean_nothing_are_told(tmp_path: Path) -> None:
    text = """currency: USD
rates:
  - {on: storage, price: 1, per: hour, from: 2026-01-01, source: x}
  - {on: linux-2, price: 1, per: GB-month, from: 2026-02-30, source: x}
  - {on: linux-2, price: 2, per: minute, from: 2026-02-30, source: x}
"""
    assert faults(tmp_path, text) == [
        (3, "storage is paid per GB-month or GiB-month"),
        (4, "linux-2 is paid per minute or hour"),
        (4, "2026-02-30 is no day"),
        (5, "2026-02-30 is no day"),
        (5, "linux-2 has another rate from 2026-02-30 on"),
    ]


@pytest.mark.parametrize("text", ["", "- a list", "currency: USD", "rates: []", "a: [", "currency: USD\nrates: 3"])
def test_what_is_no_file_of_rates_is_told_and_not_guessed(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="can't be read"):
        rates_of(tmp_path / "none.yml")


def test_the_rates_that_ciflow_has_are_a_file_as_anybodys(tmp_path: Path) -> None:
    assert rates_of(written(tmp_path, SHIPPED.read_text())) == rates_of(None)
