"""What the screens say of a service is what its users get, or says that nobody here can know."""

from __future__ import annotations

import json
from dataclasses import replace

from ciflow.store.store import Store
from tests.e2e.service import Service, finish
from tests.parts.process import wait_for


def test_a_dead_controller_s_share_is_told_as_of_then_until_somebody_asks_the_routers(production: Service) -> None:
    """The dead-man gives the traffic back, which no journal hears of."""
    version, before = production.next(), production.live()
    release = production.apply(version, hold="5m")
    production.until(version, "holding", 2500)
    wait_for(lambda: turned(production, version), "the dial is turned, and that is written down")
    release.kill()
    release.wait()
    said = production.ciflow("status", "shield")[1]
    assert f"shield {version} slot" in said and "25 % of the traffic when the rollout's process ended" in said, said
    assert "the dead-man gives back what it has after 6 s: `ciflow rollback shield --rehearse` asks" in said, said
    wait_for(lambda: production.only_slot() == before, "the dead-man gives the traffic back")
    code, said = production.ciflow("rollback", "shield", "--rehearse", "--json")
    assert code == 0 and json.loads(said)["live"]["name"] == before, said
    said = production.ciflow("status", "shield")[1]
    assert f"slot {before}, 100 % of the traffic, live" in said and "when the rollout" not in said, said
    assert f"shield {version} slot" in said and "no traffic, given back" in said and "`ciflow resume R-" in said, said
    code, said = production.ciflow("abort", "shield")
    assert code == 3 and "no process listens" in said and "`ciflow rollback shield` turns it back" in said, said
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "takes no turn of it any more" in said and "Stopped the rollout" in said, said
    assert "nothing of it is left to resume" in production.ciflow("status")[1]
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said, said
    code, said = production.ciflow("resume", "shield")
    assert code == 6 and "holds token" in said, said
    assert production.live() == before


def turned(production: Service, version: str) -> bool:
    return any(e.data["version"] == version for e in production.events("dial"))


def test_a_rollback_from_another_machine_is_known_here_once_somebody_asks(production: Service) -> None:
    version, before = production.next(), production.live()
    assert finish(production.apply(version, bake="0s"))[0] == 0
    elsewhere = production.home / "another-machine"
    code, said = production.ciflow("rollback", "shield", state=elsewhere)
    assert code == 0, said
    for state in (elsewhere, production.state):
        production.ciflow("rollback", "shield", "--rehearse", state=state)
        said = production.ciflow("status", "shield", state=state)[1]
        assert f"slot {before}, 100 % of the traffic, live" in said and version not in said, said
        assert f"slot {before} 100 % live" in production.ciflow("history", "shield", state=state)[1]
    (run,) = {e.run for e in production.events("canary_started") if e.data["version"] == version}
    for name in (run, "shield"):
        assert f"since then shield {version} was rolled back" in production.ciflow("show", name)[1]
    assert run in production.ciflow("history", "shield")[1]


def test_what_never_came_to_its_routers_leads_no_rollback_astray(production: Service) -> None:
    """Neither a check with other settings, nor a release whose router is not there."""
    version, before = production.next(), production.live()
    assert finish(production.apply(version, bake="0s"))[0] == 0
    production.write("moved.yml", dir=str(production.home / "moved"), binary="/no/such/router")
    following = production.next()
    for words in ((), ("--check",)):
        code, said = finish(production.apply(following, *words, playbook="moved.yml"))
        assert ("no Envoy on localhost" in said) == (not words), said
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "Rolled back" in said, said
    assert production.live() == before


def test_a_router_that_two_plays_of_a_run_turned_is_turned_back_once(production: Service) -> None:
    """As a playbook has that releases the first version and then the next; the gates differ, the router does not."""
    version, before = production.next(), production.live()
    assert finish(production.apply(version, bake="0s"))[0] == 0
    with Store.open(production.state) as store:
        told = {e.kind: e for e in store.events(kinds=("routers", "dial_wanted")) if e.play}
        data = {**told["routers"].data, "edges": [0.5]}
        other = [replace(told["routers"], data=data), told["dial_wanted"]]
        store.append([replace(event, play="first", seq=0) for event in other])
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and said.count(f"traffic on {before}") == 1, said
    assert production.live() == before


def test_a_rollback_in_vain_is_written_down_and_over(production: Service) -> None:
    code, said = production.ciflow("rollback", "nobody", "--break-glass", "--reason", "try")
    assert code == 3, said
    said = production.ciflow("history")[1]
    assert "rollback nobody" in said and "running" not in production.ciflow("status")[1].split("shield")[0]
    assert "nothing is known of a service nobody" in production.ciflow("show")[1]


def test_a_name_that_was_forgotten_is_asked_for_with_those_that_there_are(production: Service) -> None:
    version = production.next()
    release = production.apply(version, hold="5m")
    production.until(version, "holding", 2500)
    for verb in ("pause", "promote", "abort"):
        code, said = production.ciflow(verb)
        assert code == 3 and f"which service? `ciflow {verb} shield`" in said, said
    assert production.ciflow("pause", "shield")[0] == 0
    production.until(version, "paused", 2500)
    assert "paused; `ciflow resume R-" in production.ciflow("status", "shield")[1]
    code, said = production.ciflow("resume", "shield")
    assert code == 0 and "resume: said to R-" in said, said
    wait_for(lambda: production.events("canary_state")[-1].data["state"] == "holding", "it goes on")
    assert production.ciflow("abort", "shield")[0] == 0
    assert finish(release)[0] == 7
    code, said = production.ciflow("abort")
    assert code == 3 and "no rollout is under way" in said, said
