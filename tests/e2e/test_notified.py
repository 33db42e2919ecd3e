"""Who is told of a release: step by step, when its gates turn it back, and when somebody does from another terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.service import Service, finish
from tests.parts.receivers import Web, web

pytestmark = pytest.mark.slow
USUAL = "[failed, rolled_back, paused, approval, recovered]"


@pytest.fixture
def receiver() -> Iterator[Web]:
    with web() as made:
        yield made


def release(production: Service, url: str, fault: float = 0.0, on: str = USUAL, **variables: Any) -> tuple[int, str]:
    path = production.write("told.yml")
    told = f"notifications:\n  - {{to: webhook, url: {url}, on: {on}}}\n"
    path.write_text(path.read_text().replace("vars:\n", f"{told}vars:\n", 1))
    version = production.next(fault)
    return finish(production.apply(version, playbook="told.yml", bake="0s", **variables))


def test_the_gates_turn_it_back_and_the_next_release_is_well_again(production: Service, receiver: Web) -> None:
    code, said = release(production, f"{receiver.url}/hook", fault=0.9, hold="20s")
    assert code == 7, said
    code, said = release(production, f"{receiver.url}/hook")
    assert code == 0, said
    back, again = [one.json for one in receiver.got]
    assert (back["on"], back["service"], back["before"], again["on"]) == ("rolled_back", "shield", "1.0", "recovered")
    assert back["reason"] and f"shield {back['version']} was rolled back to 1.0" in back["title"]


def test_each_step_is_told_to_who_wants_it(production: Service, receiver: Web) -> None:
    code, said = release(production, f"{receiver.url}/hook", on="[dial, promoted]")
    assert code == 0, said
    assert [(one.json["on"], one.json["weight"]) for one in receiver.got] == [
        ("dial", 25.0),
        ("dial", 50.0),
        ("promoted", 100.0),
    ]


def test_a_rollback_from_another_terminal_is_told_when_it_is_done(production: Service, receiver: Web) -> None:
    assert release(production, f"{receiver.url}/hook")[0] == 0
    receiver.got.clear()
    code, said = production.ciflow("rollback", "shield", "--reason", "tried it")
    assert code == 0 and "Rolled back" in said and "warning" not in said, said
    (event,) = [one.json for one in receiver.got]
    assert (event["on"], event["reason"], event["service"]) == ("rolled_back", "tried it", "shield")
    (told,) = [one for one in production.events("notified") if one.run == event["run"]]
    assert told.data["sent"] and event["id"] == told.data["id"]
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said and len(receiver.got) == 1, said


@pytest.mark.fault(25)
def test_a_rollback_has_been_said_before_somebody_who_hangs_is_told(production: Service, receiver: Web) -> None:
    assert release(production, f"{receiver.url}/hang/of-the-secret-kind", on="[rolled_back]")[0] == 0
    code, said = production.ciflow("rollback", "shield", "--json")
    assert code == 0, said
    assert json.loads(said[: said.index("warning:")])["done"], "the rollback's own words come first"
    assert "was not told that shield" in said and "no answer" in said and "secret-kind" not in said, said
