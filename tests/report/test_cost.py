"""What runs cost: by hand where that is short, and by the examples of GitHub's documentation."""

from __future__ import annotations

import calendar
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciflow.lang.rates import Rate, Rates, rates_of
from ciflow.model import Event
from ciflow.report.bill import bill, table
from ciflow.report.cost import Charge, Group, Pricing, data_of_run, estimated, grouped, items_of
from ciflow.report.text import painted
from ciflow.report.used import KINDS, Uses, folded
from tests.report.story import Story

HOSTED = {"environment": "github-hosted", "os": "Linux", "arch": "X64", "cores": 2}
HERE = {"environment": "self-hosted", "os": "Linux", "arch": "X64", "cores": 8}
NOW = float(calendar.timegm((2026, 11, 26, 12, 0, 0)))
KNOWN = rates_of(None)


class Told(Story):
    """A run that began at noon."""

    def __init__(self, run: str = "R-1", on: dict[str, Any] | None = None, playbook: str = "site.yml", **more: Any):
        super().__init__(run)
        self.at = NOW
        data = {"playbook": playbook, "who": "ada", "on": HOSTED if on is None else on, **more}
        self.tell("run_started", data)

    def played(self, play: str, seconds: float, result: str = "ok", **used: Any) -> Told:
        self.play(play, play.title()).pass_time(seconds)
        if used:
            self.tell("usage", used, play=play)
        self.end_play(play, result)
        return self

    def over(self, code: int = 0) -> Told:
        self.end(code, "")
        return self


def uses_of(*told: Story) -> Uses:
    events = [event for one in told for event in one.events]
    kept = [event for event in events if event.kind in KINDS]
    return folded(kept, lambda run: max(event.at for event in events if event.run == run))


def groups_of(*told: Story, rates: Rates = KNOWN, on: str = "", by: str = "play", now: float = NOW) -> list[Group]:
    uses = uses_of(*told)
    return grouped(items_of(uses, uses.runs, Pricing(rates, on), 0.0, now), by)


def amounts(groups: list[Group]) -> dict[str, Decimal]:
    return {group.name: group.charge.amount for group in groups}


def total(groups: list[Group]) -> Charge:
    return sum((group.charge for group in groups), Charge())


def only(*rates: Rate) -> Rates:
    return Rates("USD", rates)


# --- time ------------------------------------------------------------------------------------------------------


def test_61_seconds_on_linux_2_are_two_minutes() -> None:
    """2 x 0.006; the play itself is 61/60 of 0.006, and 59 s are paid for nothing."""
    found = groups_of(Told().played("build", 61).over())
    assert total(found) == Charge(Decimal("0.012"))
    assert amounts(found) == {"Build": Decimal("0.006100"), "rounding up": Decimal("0.005900")}


@pytest.mark.parametrize(("seconds", "minutes"), [(59.9, 1), (60, 1), (60.1, 2), (3600, 60)])
def test_each_begun_minute_is_paid_for(seconds: float, minutes: int) -> None:
    assert total(groups_of(Told().played("build", seconds).over())).amount == minutes * Decimal("0.006")


def test_githubs_example_of_linux_and_windows_minutes() -> None:
    """ "GitHub Actions billing", example of minutes: 3,000 Linux at 0.006 are 18 USD, 2,000 Windows at 0.010 are 20."""
    linux = Told("R-1").played("build", 3000 * 60).over()
    windows = Told("R-2", on={**HOSTED, "os": "Windows"}).played("build", 2000 * 60).over()
    found = groups_of(linux, windows, by="run")
    assert amounts(found) == {"R-1": Decimal(18), "R-2": Decimal(20)}
    assert total(found).amount == 38


def test_plays_that_run_at_once_share_the_machine() -> None:
    """Two minutes: one alone, one of both. 90 s and 30 s of 0.006 a minute."""
    told = Told().tell("play_started", {"name": "Long"}, play="long").pass_time(60)
    told.tell("play_started", {"name": "Short"}, play="short").pass_time(60)
    told.end_play("long").end_play("short").end(0, "")
    assert amounts(groups_of(told)) == {"Long": Decimal("0.009"), "Short": Decimal("0.003")}


def test_what_passes_without_a_play_is_paid_for_as_well() -> None:
    told = Told().pass_time(30)
    found = groups_of(told.played("build", 30).over())
    assert amounts(found) == {"Build": Decimal("0.003"), "between plays": Decimal("0.003")}


def test_a_resumed_run_is_two_jobs_and_nothing_of_it_is_counted_twice() -> None:
    """Killed after 70 s (two minutes), taken up an hour later for 50 s (one)."""
    told = Told().played("test", 30).play("build", "Build").pass_time(40)
    told.tell("output", {"text": "still there"}, play="build").pass_time(3600)
    told.tell("run_resumed", {"who": "ada", "on": HOSTED, "last": NOW + 70}).pass_time(50)
    told.tell("play_ended", {"name": "Build", "result": "ok", "duration": 50.0}, play="build").end(0, "")
    found = groups_of(told)
    assert total(found).amount == 3 * Decimal("0.006")
    assert amounts(found) == {"Build": Decimal("0.009"), "Test": Decimal("0.003"), "rounding up": Decimal("0.006")}


def test_a_play_that_failed_and_ran_again_is_paid_for_twice() -> None:
    told = Told().played("build", 60, "failed").over(4).pass_time(3600)
    told.tell("run_resumed", {"on": HOSTED, "last": NOW + 60}).pass_time(120)
    told.tell("play_ended", {"name": "Build", "result": "ok", "duration": 120.0}, play="build").end(0, "")
    assert amounts(groups_of(told)) == {"Build": Decimal("0.018")}


def test_a_run_that_was_killed_costs_what_it_took_until_then() -> None:
    told = Told().play("build", "Build").pass_time(100).tell("task_ended", {"status": "ok"}, play="build")
    found = groups_of(told)
    assert total(found).amount == Decimal("0.012")
    assert found[0].use.result == "interrupted"


def test_a_run_that_was_killed_at_once_costs_nothing_that_is_known() -> None:
    found = groups_of(Told())
    assert total(found) == Charge()
    assert data_of_run(found, Pricing(KNOWN))["seconds"] == 0


def test_what_a_version_cost_is_not_paid_again_when_it_is_deployed_again() -> None:
    """Its run begins with the events of the plays before, which were another run's."""
    first = Told("R-1").played("build", 600).over()
    again = [Event(kind=e.kind, run="R-2", at=e.at, play=e.play, data=e.data) for e in first.events if e.play]
    second = Told("R-2")
    second.at = NOW + 4000
    second.events = [Event(kind="run_started", run="R-2", at=second.at, data=second.events[0].data), *again]
    second.pass_time(60)
    second.played("roll", 60).over()
    assert amounts(groups_of(first, second, by="run"))["R-2"] == Decimal("0.012")


# --- rates -----------------------------------------------------------------------------------------------------


def test_what_has_no_rate_is_shown_with_its_time_and_not_as_free() -> None:
    told = Told(on=HERE).played("build", 150).over()
    found = groups_of(told)
    assert total(found) == Charge(time=150_000_000)
    text = screen(bill(found, Pricing(KNOWN), 100))
    assert "no rate for self-hosted, 2m 30s" in text and "0.0000" not in text
    assert data_of_run(found, Pricing(KNOWN))["unpriced_seconds"] == 150


@pytest.mark.parametrize("on", [{}, {**HOSTED, "cores": 3}])
def test_a_machine_that_nobody_recorded_or_knows_is_not_guessed(on: dict[str, Any]) -> None:
    assert total(groups_of(Told(on=on).played("build", 60).over())) == Charge(time=60_000_000)


def test_the_rate_may_be_named_and_the_machine_is_not_asked() -> None:
    assert total(groups_of(Told(on=HERE).played("build", 61).over(), on="linux-16")).amount == Decimal("0.084")


def test_a_machine_of_ones_own_is_paid_by_the_hour_for_as_long_as_it_took() -> None:
    hour = only(Rate("self-hosted", Decimal("0.36"), "hour", "2026-01-01", "our bill"))
    assert total(groups_of(Told(on=HERE).played("build", 61).over(), rates=hour)).amount == Decimal("0.0061")
    free = only(Rate("self-hosted", Decimal(0), "hour", "2026-01-01", "it stands here anyway"))
    assert total(groups_of(Told(on=HERE).played("build", 61).over(), rates=free)) == Charge()


def test_the_rate_of_the_day_holds_and_not_that_of_today() -> None:
    rates = only(
        Rate("linux-2", Decimal(1), "minute", "2026-01-01", "", machine=(("cores", 2),)),
        Rate("linux-2", Decimal(5), "minute", "2026-11-27", ""),
    )
    told = Told().played("build", 60).over()
    assert total(groups_of(told, rates=rates)).amount == 1
    told.events = [Event(kind=e.kind, run=e.run, at=e.at + 86_400, play=e.play, data=e.data) for e in told.events]
    assert total(groups_of(told, rates=rates)).amount == 5


# --- what was saved, used and kept -----------------------------------------------------------------------------


def runs_of(*seconds: float) -> list[Told]:
    return [Told(f"R-{n}").played("build", took).over() for n, took in enumerate(seconds)]


def test_a_cached_play_saved_the_median_of_what_it_took_before() -> None:
    """Of 60, 120 and 600 s that is 120 s, 0.012."""
    cached = Told("R-9").played("build", 0, "cached").over()
    found = groups_of(*runs_of(600, 60, 120), cached)
    play = next(item for group in found for item in group.items if item.run.run == "R-9" and item.play)
    assert play.saved == Charge(Decimal("0.012"))
    assert play.use is not None and play.use.usual is not None
    assert (play.use.usual.seconds, play.use.usual.runs) == (120, 3)


def test_what_was_left_out_after_a_failure_saved_nothing() -> None:
    told = Told("R-9").played("test", 60, "failed").played("build", 0, "skipped").over(4)
    assert sum((group.saved for group in groups_of(*runs_of(600), told)), Charge()) == Charge()


def test_a_play_without_a_history_saved_nothing_that_is_known() -> None:
    assert groups_of(Told().played("build", 0, "skipped").over())[0].saved == Charge()


def test_rehearsals_are_no_history() -> None:
    check = Told("R-1", check=True).played("build", 5).over()
    assert uses_of(check).usual("site.yml", "build") is None


def test_processor_time_and_bytes_add_up_and_memory_is_the_largest() -> None:
    told = Told().tell("play_started", {"name": "Build"}, play="build")
    told.tell("usage", {"cpu": 1.5, "peak_kb": 900, "commands": 2, "measured": 2, "sent": 10}, play="build")
    told.tell("usage", {"cpu": 0.25, "peak_kb": 100, "commands": 3, "measured": 1, "received": 5}, play="build")
    told.pass_time(60).end_play("build").end(0, "")
    found = groups_of(told)
    data = data_of_run(found, Pricing(KNOWN))
    assert {name: data[name] for name in ("cpu", "peak_kb", "commands", "measured", "sent", "received")} == {
        "cpu": 1.75, "peak_kb": 900, "commands": 5, "measured": 3, "sent": 10, "received": 5,
    }  # fmt: skip
    assert "cpu and memory of 3 of 5 commands are known" in screen(bill(found, Pricing(KNOWN), 100))


def test_githubs_example_of_storage() -> None:
    """3 GB for 10 days of March and 12 GB for 21 are 6,768 GB-hours, 9.0967 GB-months of 744 hours."""
    march = float(calendar.timegm((2026, 3, 1, 0, 0, 0)))
    april = float(calendar.timegm((2026, 4, 1, 0, 0, 0)))
    rates = only(Rate("storage", Decimal(1), "GB-month", "2026-01-01", ""))
    told = Told().over()
    told.events = [Event(kind=e.kind, run=e.run, at=march, data=e.data) for e in told.events]
    for name, size, day in (("few", 3, 0), ("many", 12, 10)):
        data = {"name": name, "path": name, "sha256": name, "size": size * 10**9}
        told.events.append(Event(kind="artifact", run="R-1", at=march + day * 86_400, data=data))
    told.events.append(Event(kind="artifact_removed", run="R-1", at=march + 10 * 86_400, data={"sha256": "few"}))
    found = groups_of(told, rates=rates, by="month", now=april)
    assert amounts(found) == {"2026-03": Decimal("9.096774")}
    assert groups_of(told, rates=only(), now=april)[-1].charge.kept == (3 + 12) * 10**9


def test_content_that_several_runs_left_is_kept_once_for_the_first() -> None:
    left = {"name": "server", "path": "server", "sha256": "9f", "size": 1000}
    first = Told("R-1").tell("artifact", left).end(0, "")
    second = Told("R-2").tell("artifact", left).end(0, "")
    taken = Told("R-3").tell("artifact", {**left, "path": "", "sha256": "77"}).end(0, "")
    [kept] = uses_of(first, second, taken).kept
    assert (kept.run, kept.size, kept.until) == ("R-1", 1000, 0.0)


def test_an_estimate_follows_the_longest_chain_and_says_what_it_does_not_know() -> None:
    """30 s, then 20 s beside 60 s: 90 s, of which two minutes are paid."""
    told = Told().played("test", 30).played("lint", 20).played("build", 60).over()
    uses = uses_of(told)
    usual = {play: found for play in ("test", "lint", "build") if (found := uses.usual("site.yml", play))}
    needs = {"roll": ["lint", "build"], "lint": ["test"], "build": ["test"], "test": []}
    found = estimated(needs, usual, uses.runs["R-1"].jobs[-1], Pricing(KNOWN), NOW)
    assert (found.seconds, found.runs, found.on, found.unknown) == (90, 1, "linux-2", ("roll",))
    assert found.charge == Charge(Decimal("0.012"))


# --- the screen ------------------------------------------------------------------------------------------------


def screen(lines: list[Any]) -> str:
    return "\n".join(painted(one, False) for one in lines)


def test_a_screen_has_the_dearest_first_and_no_more_lines_than_fit() -> None:
    told = Told()
    for number in range(50):
        told.played(f"p{number:02}", number + 1)
    shown = screen(bill(groups_of(told.over()), Pricing(KNOWN), 100)).splitlines()
    assert shown[1].split()[0] == "P49" and shown[2].split()[0] == "P48"
    assert len(shown) < 30 and all(len(line) <= 100 for line in shown)
    assert any(line.startswith("and 30 more") for line in shown)
    assert next(line for line in shown if line.startswith("total")).split()[-1] == "0.1320"  # 1275 s are 22 minutes


def test_names_with_control_characters_move_nothing_on_the_screen() -> None:
    told = (
        Told(playbook="\x1b]0;pwn\x07.yml", on={"environment": "\x1b[2J", "os": "\x07"}).played("a\x1b[2Jb", 60).over()
    )
    found = groups_of(told, by="playbook")
    for shown in (
        screen(bill(groups_of(told), Pricing(KNOWN), 100)),
        screen(table(found, "playbook", Pricing(KNOWN), 100)),
    ):
        assert not set(shown) & {"\x1b", "\x07"}


# --- whatever happens ------------------------------------------------------------------------------------------


@given(
    plays=st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), max_size=6),
    jobs=st.lists(st.floats(0.001, 700), min_size=1, max_size=3),
    rate=st.sampled_from(["linux-1", "linux-arm-2", "macos", "mine"]),
)
def test_plays_and_what_is_rounded_up_add_up_to_what_the_jobs_cost(
    plays: list[tuple[float, float]], jobs: list[float], rate: str
) -> None:
    told = Told()
    for number, (begin, took) in enumerate(plays):
        told.at = NOW + begin + took
        data = {"name": f"p{number}", "result": "ok", "duration": took}
        told.tell("play_ended", data, play=f"p{number}")
    at = NOW
    for number, took in enumerate(jobs):
        at = max(at, told.at) + took
        if number < len(jobs) - 1:
            told.at = at + 3600
            told.tell("run_resumed", {"on": HOSTED, "last": at})
            at = told.at
    told.at = at
    told.end(0, "")
    rates = Rates("USD", (Rate("mine", Decimal("0.7"), "hour", "2026-01-01", ""), *KNOWN.every))
    uses = uses_of(told)
    pricing = Pricing(rates, rate)
    found = data_of_run(grouped(items_of(uses, uses.runs, pricing, 0.0, NOW), "play"), pricing)
    held = rates.of(rate, NOW)
    assert held is not None
    owed = sum((held.amount(held.billed(job.took)) for job in uses.runs["R-1"].jobs), Decimal(0))
    assert abs(Decimal(found["amount"]) - owed) <= len(jobs) * Decimal("0.0000005")
    assert sum((Decimal(part["amount"]) for part in found["parts"]), Decimal(0)) == Decimal(found["amount"])
    assert round(sum(part["seconds"] for part in found["parts"]) - found["seconds"], 6) == 0
    assert uses.runs["R-1"].took == sum(sum(job.shares().values()) for job in uses.runs["R-1"].jobs)
