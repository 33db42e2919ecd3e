"""`ciflow flaky` over a journal with a known history, and the file it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ciflow.model import Event
from ciflow.store.store import Store
from tests.test_cli import Shell

SHAKY, BAD, GOOD = "shop tests::shaky", "shop tests::bad", "shop tests::good"
NOW = 1_795_600_000.0


@pytest.fixture
def ciflow(tmp_path: Path) -> Shell:
    """A workspace whose last twelve runs are recorded: one test fails in every third, one on the newest commit."""
    (tmp_path / "home").mkdir()
    (tmp_path / "Cargo.lock").write_text("")
    events = []
    for number in range(12):
        newest = number >= 9
        results = {
            SHAKY: ["F" if number % 3 == 0 else "P", 0.1],
            BAD: ["F" if newest else "P", 0.1],
            **{f"{GOOD}{other}": ["P", 0.1] for other in range(10)},
        }
        data = {"commit": "new" if newest else "old", "part": "", "results": results}
        events.append(Event(kind="tests", run=f"R-{number}", at=NOW + number, host="h", task="t", data=data))
    with Store.open(tmp_path / "state") as store:
        store.append(events)
    return Shell(tmp_path)


def test_the_list_has_what_needs_somebody_and_says_what_it_is(ciflow: Shell) -> None:
    told = [json.loads(line) for line in ciflow("flaky", "list", "--json").stdout.splitlines()]
    assert {one["test"]: one["state"] for one in told} == {SHAKY: "flaky", BAD: "broken"}
    assert len(ciflow("flaky", "list", "--all").stdout.splitlines()) == 12
    shown = ciflow("flaky", "show", "shaky").stdout
    assert "4 of 12 attempts failed on code that it also passed on" in shown
    assert ciflow("flaky", "show", "nothing").returncode == 3


def test_a_test_is_quarantined_with_owner_reason_and_end_and_released_again(ciflow: Shell) -> None:
    assert ciflow("flaky", "quarantine", SHAKY, "--reason", "#7", "--owner", "ada").returncode == 0
    text = (ciflow.folder / ".config" / "quarantine.toml").read_text()
    assert 'owner = "ada"\nreason = "#7"' in text
    report = json.loads(ciflow("flaky", "report", "--json").stdout)
    assert [one["test"] for one in report["quarantined"]] == [SHAKY]
    assert (report["tests"]["flaky"], report["tests"]["broken"], report["outages"]) == (1, 1, 0)
    assert (report["red"], report["red_by_flakiness"]) == (6, 3)
    assert ciflow("flaky", "release", "--clean").returncode == 0
    assert SHAKY in (ciflow.folder / ".config" / "quarantine.toml").read_text(), "it has not passed 50 times"
    assert ciflow("flaky", "release", SHAKY).returncode == 0
    assert SHAKY not in (ciflow.folder / ".config" / "quarantine.toml").read_text()


def test_a_broken_test_is_not_hidden_in_quarantine(ciflow: Shell) -> None:
    refused = ciflow("flaky", "quarantine", BAD, "--reason", "later")
    assert refused.returncode != 0
    assert "is broken, not flaky" in refused.stderr
    assert not (ciflow.folder / ".config").exists()


def test_a_quarantine_that_cannot_be_read_is_said_and_left_alone(ciflow: Shell) -> None:
    (ciflow.folder / ".config").mkdir()
    (ciflow.folder / ".config" / "quarantine.toml").write_text("[[quarantined]]\n")
    refused = ciflow("flaky", "quarantine", SHAKY, "--reason", "#7")
    assert refused.returncode != 0
    assert "entry 1 of .config/quarantine.toml" in refused.stderr
    assert (ciflow.folder / ".config" / "quarantine.toml").read_text() == "[[quarantined]]\n"
