"""`ciflow rollback` from another shell, while a release is under way and users are there: it wins, and none fails."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from dataclasses import replace

import pytest

from ciflow.engine.reached import connection_data
from ciflow.model import Detached
from ciflow.store.store import Store
from ciflow.targets import Connection
from tests.e2e.service import PATIENCE, Service, finish
from tests.parts.process import wait_for
from tests.rollout.host import AgentHost

STATES = {"deploying": 3, "verifying": 3, "holding": 0, "baking": 0}  # seconds that the release stays there


@pytest.mark.fault(17, 18)
@pytest.mark.parametrize("state", STATES)
def test_it_wins_in_every_state_and_the_release_ends_fenced(production: Service, state: str) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, slow=STATES[state], bake="20s", hold="2s")
        production.until(version, state)
        time.sleep(0.2)
        began = time.monotonic()
        code, said = production.ciflow("rollback", "shield", "--reason", "tried it")
        took = time.monotonic() - began
        ended, told = finish(release)
    print(f"\nrollback while {state}: {took:.2f} s")
    assert code == 0, said
    assert ended == 6 and "holds token" in told, told
    assert production.live() == before
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said, said


def test_it_wins_while_the_release_is_promoted(production: Service) -> None:
    """Stopped at that very moment, perhaps between two of its writes, and let go when the rollback has ended."""
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, bake="60s")
        production.until(version, "promoting")
        release.send_signal(signal.SIGSTOP)
        code, said = production.ciflow("rollback", "shield")
        release.send_signal(signal.SIGCONT)
        ended, told = finish(release)
    assert code == 0 and "Rolled back" in said, said
    assert ended == 6 and "holds token" in told and "somebody else has taken over" in told, told
    assert production.live() == before


def test_it_works_without_the_journal(production: Service) -> None:
    """The manifest beside the router knows all that is needed. A rehearsal says so beforehand, and turns nothing."""
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    broken, lost = production.home / "broken", production.home / "lost"
    broken.write_text("a file, where a folder should be")
    code, said = production.ciflow("rollback", "shield", "--rehearse", state=broken)
    assert code == 0 and "nothing was turned" in said and "the journal can't be used" in said, said
    assert production.live() != before
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield", state=lost)
    assert code == 0 and "Rolled back" in said, said
    assert production.live() == before
    code, said = production.ciflow("rollback", "shield", state=broken)
    assert code == 0 and "nothing to do" in said, said


def test_a_rehearsal_as_a_ci_job_does_it_fails_once_the_old_version_has_died(
    production: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    live = production.live()
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield", "--rehearse")
        assert code == 0 and "every router answers, and so does the version to go back to" in said, said
        monkeypatch.setenv("HOME", str(production.home))
        with AgentHost() as host:
            host.answer(Detached(key=f"process/shield-{before}", verb="cancel"))
        code, said = production.ciflow("rollback", "shield", "--rehearse")
    assert code == 4 and f"slot {before} does not answer at" in said and "nothing was turned" in said, said
    code, said = production.ciflow("rollback", "shield", "--rehearse", "--json")
    assert code == 4 and json.loads(said)["silent"] == ["localhost"], said
    assert production.live() == live


def test_a_service_that_nobody_knows_is_said_plainly(production: Service) -> None:
    code, said = production.ciflow("rollback", "unheard-of")
    assert code == 3 and "nothing is known of a service unheard-of" in said and "--host" in said, said
    code, said = production.ciflow("rollback", "sheild")
    assert code == 3 and "did you mean `ciflow rollback shield`?" in said, said


def test_a_router_that_never_answers_holds_up_no_other_and_is_named_with_what_to_do(production: Service) -> None:
    """Its host takes connections and says nothing, as one behind a broken firewall."""
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    with socket.create_server(("127.0.0.1", 0)) as silent, Store.open(production.state) as store:
        known = production.events("routers")[-1]
        gone = Connection("ssh", "web2", "127.0.0.1", silent.getsockname()[1], user="root", connect_timeout=PATIENCE)
        hosts = {**known.data["hosts"], "web2": connection_data(gone)}
        store.append([replace(known, data={**known.data, "hosts": hosts}, seq=0)])
        rollback = production.start("rollback", "shield")
        wait_for(lambda: production.only_slot() == before, "the traffic is back")
        assert rollback.poll() is None, "it still asks the other"
        silent.close()
        code, said = finish(rollback)
    assert code == 5, said
    assert "Rolled back on 1 of 2 routers" in said and "web2 not turned" in said and "The same command" in said, said


def test_another_machine_needs_only_the_inventory(production: Service) -> None:
    """No journal, no `--host`: whoever of the inventory has the manifest says the rest."""
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    hosts = production.home / "hosts"
    hosts.write_text(
        "other ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\nlocalhost ansible_connection=local\n"
    )
    code, said = production.ciflow("rollback", "shield", "-i", str(hosts), state=production.home / "elsewhere")
    assert code == 0 and "traffic on" in said, said
    assert production.live() == before


def test_an_inventory_says_where_a_router_is_that_has_moved_since_the_release(production: Service) -> None:
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    with Store.open(production.state) as store:
        known = production.events("routers")[-1]
        old = Connection("ssh", "localhost", "127.0.0.1", 1, user="root", connect_timeout=PATIENCE)
        store.append([replace(known, data={**known.data, "hosts": {"localhost": connection_data(old)}}, seq=0)])
    code, said = production.ciflow("rollback", "shield")
    assert code == 5 and "127.0.0.1:1" in said, said
    hosts = production.home / "moved"
    hosts.write_text("localhost ansible_connection=local\n")
    code, said = production.ciflow("rollback", "shield", "-i", str(hosts))
    assert code == 0 and "traffic on" in said, said
    assert production.live() == before


BUILD = """
  - name: Build
    id: build
    hosts: localhost
    tasks:
      - name: Make it
        shell: echo build {{{{ version }}}} >> {home}/ran; wc -l < {home}/ran
        register: made
        no_log: true
    outputs: {{number: "{{{{ made.stdout }}}}"}}
"""
DEPLOYS = "shell: echo deploy {{ version }}"


def with_a_build(production: Service) -> str:
    """The playbook with a play before the canary whose output, a secret, says what is deployed."""
    text = (production.home / "release.yml").read_text()
    text = text.replace("plays:\n", "plays:" + BUILD.format(home=production.home), 1)
    text = text.replace(DEPLOYS, "shell: echo {{ plays.build.outputs.number }}-deployed {{ version }}", 1)
    (production.home / "built.yml").write_text(text)
    return "built.yml"


def test_a_version_whose_slot_was_given_away_is_deployed_again_as_it_was(production: Service) -> None:
    """The second is live, the third was put over the first and failed. Nothing is wrong with what is live, so it is
    left only when that is asked for: by the first's deployment of then, with what was built then, and no gate."""
    first, second, third = production.next(), production.next(), production.next()
    playbook = with_a_build(production)
    for version in (first, second):
        code, said = finish(production.apply(version, bake="0s", playbook=playbook))
        assert code == 0, said
    code, said = finish(production.apply(third, kind="dies", playbook=playbook))
    assert code == 4, said
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said and "put over it" in said and "--redeploy" in said, said
    code, said = production.ciflow("rollback", "shield", "--redeploy", "--rehearse")
    assert code == 0 and "would be deployed again" in said and first in said, said
    before, ran = production.live(), production.ran(first)
    assert ran[0] == "build" and ran[1].endswith("-deployed")
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield", "--redeploy")
    assert code == 0 and "put over it; deploying it again with the artifacts of R-" in said, said
    assert production.live() != before
    assert production.ran(first) == [*ran, *ran[1:]], "all but the build, with what was built then"
    newest = production.events("canary_state")[-1]
    assert newest.data["version"] == first and newest.data["state"] == "good"
    code, said = production.ciflow("rollback", "shield", "--redeploy")
    assert code == 0 and "nothing to do" in said, "a second call goes back to nothing"


def test_it_ends_a_pause_whether_its_controller_lives_or_has_left(production: Service) -> None:
    version, before = production.next(), production.live()
    release = production.apply(version, hold="5m")
    production.until(version, "holding", 2500)
    assert production.ciflow("pause", "shield")[0] == 0
    production.until(version, "paused", 2500)
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield")
    assert code == 0, said
    assert finish(release)[0] == 6 and production.live() == before
    version = production.next(0.3)
    release = production.apply(version, hold="5m", deadline="30m", on_failure="pause")
    production.until(version, "paused", 2500)
    production.break_version(version, 0.0)  # before the guard of the pause gives the traffic back
    code, said = finish(release)
    assert code == 8, said
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "Rolled back" in said, said
    assert production.live() == before
    assert "its release was rolled back: nothing of it is left to resume" in production.ciflow("status")[1]
    code, said = production.ciflow("resume")
    assert code == 6 and "holds token" in said, said
    assert production.live() == before


def test_a_controller_that_was_stopped_and_goes_on_later_does_no_harm(production: Service) -> None:
    """Stopped (SIGSTOP) in the middle of a hold, past its lease; a rollback comes; it goes on, and is fenced off."""
    version, before = production.next(), production.live()
    release = production.apply(version, hold="5m")
    production.until(version, "holding", 2500)
    release.send_signal(signal.SIGSTOP)
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield")
    assert code == 0, said
    release.send_signal(signal.SIGCONT)
    code, told = finish(release)
    assert code == 6 and "holds token" in told, told
    assert production.live() == before


def test_it_needs_no_network_but_to_its_router(production: Service) -> None:
    """No metric server, no chat, no git, no CI can be reached: the process has no network at all, and its router is on
    this machine."""
    alone = ["unshare", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network namespace needs root")
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    with production.no_request_fails():
        code, said = finish(production.start("rollback", "shield", before=alone))
    assert code == 0 and "Rolled back" in said, said
    assert production.live() == before
