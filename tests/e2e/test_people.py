"""What people say to a rollout from another terminal, and a rollout that waits for them."""

from __future__ import annotations

import time

import pytest

from tests.e2e.service import Service, finish
from tests.parts.process import wait_for
from tests.typist import at_a_terminal


def test_pause_resume_promote_and_abort(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, hold="5m", deadline="30m")
        production.until(version, "holding", 2500)
        assert production.ciflow("pause", "shield")[0] == 0
        production.until(version, "paused", 2500)
        time.sleep(6.5)  # longer than the dead-man: a paused controller goes on renewing
        assert len({slot for _, slot in production.users.seen}) == 2
        assert production.ciflow("resume")[0] == 0
        assert production.ciflow("promote", "shield")[0] == 0
        production.until(version, "holding", 5000)
        assert production.ciflow("abort", "shield")[0] == 0
        code, said = finish(release)
    assert code == 7 and "aborted by" in said, said
    assert production.live() == before


def test_abort_while_it_deploys_starts_no_further_task(production: Service) -> None:
    version, before = production.next(), production.live()
    release = production.apply(version, slow=5)
    production.until(version, "deploying")
    wait_for(lambda: "deploy" in production.ran(version), "the first task")
    assert production.ciflow("abort", "shield")[0] == 0
    code, said = finish(release)
    assert code == 7 and "aborted by" in said and "was turned back" in said and "ciflow resume" not in said, said
    assert "verify" not in production.ran(version) and production.live() == before
    assert production.ciflow("resume", "shield")[0] == 3, "nobody wants it any more"


def test_promote_full_skips_the_steps_that_are_left(production: Service) -> None:
    version, before = production.next(), production.live()
    release = production.apply(version, hold="5m", bake="0s")
    production.until(version, "holding", 2500)
    assert production.ciflow("promote", "shield", "--full")[0] == 0
    code, said = finish(release)
    assert code == 0, said
    assert production.live() != before
    weights = [e.data["weight"] for e in production.events("dial") if e.data["version"] == version]
    assert weights == [2500, 10000]


ASKING = """
  - name: {name}
    hosts: localhost
    needs: []
    approval: {{prompt: "{name} it?"}}
    tasks:
      - name: Say so
        shell: echo {name} {{{{ version }}}} >> {home}/ran
"""


def test_questions_are_answered_while_a_rollout_goes_on(production: Service) -> None:
    """Two other plays of the run wait for a yes: one gets it, one does not, and neither holds up the dial."""
    version, before = production.next(), production.live()
    path = production.write("asking.yml")
    path.write_text(path.read_text() + "".join(ASKING.format(name=one, home=production.home) for one in "AB"))
    release = production.apply(version, playbook="asking.yml", bake="0s")
    production.until(version, "holding", 2500)
    code, said = production.ciflow("deny", "--reason", "not today")
    assert code == 0 and "refused: B it?" in said and "still waits: A it?" in said, said
    code, said = production.ciflow("approve")
    assert code == 0 and "approved: A it?" in said, said
    code, said = production.ciflow("approve")
    assert code == 3 and "nothing waits" in said, said
    code, said = finish(release)
    assert code == 4, said
    assert "A" in production.ran(version) and "B" not in production.ran(version)
    assert production.events("canary_state")[-1].data["state"] == "good" and production.live() != before
    given = [(e.data["yes"], e.data["reason"]) for e in production.events("approval_given")]
    assert given == [(False, "not today"), (True, "")]


def test_nothing_to_speak_to_is_said(production: Service) -> None:
    code, said = production.ciflow("pause", "shield")
    assert code == 3 and "no rollout of shield is under way" in said, said


@pytest.mark.slow
def test_a_rollout_that_can_not_tell_waits_guarded_and_goes_on_when_resumed(production: Service) -> None:
    """No deadline is long enough for a hold whose requests never come: exit 8, and the routers' hosts watch."""
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, said = finish(production.apply(version, hold="20.5s", deadline="20s"), 180.0)  # the pause lasts as long
        assert code == 8, said
        time.sleep(0.5)
        assert len({slot for _, slot in production.users.seen}) == 2
        code, said = production.ciflow("abort", "shield")
        assert code == 3 and "ciflow resume" in said and "ciflow rollback shield" in said, said
        for _ in range(8):
            code, said = production.ciflow("resume")
            if code != 8:
                break
    assert code == 0, said
    assert production.live() != before


def test_a_guarded_pause_gives_back_when_the_candidate_errs(production: Service) -> None:
    """The pause itself would last ten minutes."""
    version, before = production.next(), production.live()
    production.break_version(version, 0.9)
    code, said = finish(production.apply(version, on_failure="pause", deadline="10m"))
    assert code == 8 and "watched where its router is" in said, said
    wait_for(lambda: production.only_slot() == before, "the traffic is given back")
    code, said = production.ciflow("resume")
    assert code == 7 and "gave the traffic back" in said, said
    assert production.live() == before


@pytest.mark.parametrize("said", ["promote", pytest.param("promote --full", marks=pytest.mark.slow), "abort"])
def test_a_pause_after_a_bad_verdict_is_a_persons_to_end(production: Service, said: str) -> None:
    """The gates have said bad, the run has ended, and users still meet the candidate. Somebody who knows better goes
    on, whatever the gates had against it; somebody else ends it. (A rollback: test_rollback.py.)"""
    version, before = production.next(fault=0.3), production.live()
    verb, *options = said.split()
    with production.no_request_fails(by_router=False):
        release = production.apply(version, hold="5m", bake="0s", on_failure="pause", deadline="30m")
        production.until(version, "paused", 2500)
        production.break_version(version, 0.0)  # what it lacked is there now
        code, told = finish(release)
        assert code == 8 and "more than 1.25 times stable's odds is shown" in told, told
        code, told = production.ciflow(verb, "shield", *options)
        assert code == 3 and "ciflow resume" in told, "nobody listens yet"
        resumed = production.start("resume")
        wait_for(lambda: production.events("canary_state")[-1].data["state"] == "holding", "it goes on")
        assert production.ciflow(verb, "shield", *options)[0] == 0
        if said == "promote":
            production.until(version, "holding", 5000)
            assert production.ciflow(verb, "shield")[0] == 0
        code, told = finish(resumed)
    assert code == (7 if verb == "abort" else 0), told
    assert (production.live() == before) == (verb == "abort")


def test_a_live_version_that_fails_is_seen_while_the_release_beside_it_is_paused(production: Service) -> None:
    """By who runs it, who watches it in a pipe, and who reads events."""
    good = [e.data["version"] for e in production.events("canary_state") if e.data["state"] == "good"]
    version, live = production.next(), good[-1]
    release = production.apply(version, hold="5m", deadline="30m")
    production.until(version, "holding", 2500)
    watchers = [release, production.start("status", "--watch", "shield")]
    events = production.start("status", "--watch", "--json")
    assert production.ciflow("pause", "shield")[0] == 0
    production.until(version, "paused", 2500)
    for fault, sick in ((0.5, True), (0.0, False)):
        production.break_version(live, fault)
        wait_for(lambda sick=sick: [e.data["sick"] for e in production.events("stable")][-1:] == [sick], f"sick {sick}")
    assert production.ciflow("abort", "shield")[0] == 0
    sentence = "errors: stable itself is shown to be more than 3 times worse than before the release"
    for watcher in watchers:
        code, said = finish(watcher)
        assert code == 7 and sentence in said and f"the version beside {version} fails no more" in said, said
    code, said = finish(events)
    assert code == 7 and '"kind":"stable"' in said and sentence in said, said


def test_a_rollout_is_watched_and_steered_from_another_terminal(production: Service) -> None:
    version, before = production.next(), production.live()
    release = production.apply(version, hold="5m", deadline="30m")
    production.until(version, "holding", 2500)
    promoted = [e for e in production.events("command") if e.data["verb"] == "promote"]
    plain = production.start("status", "--watch", "shield")
    events = production.start("status", "--watch", "--json")
    with at_a_terminal(production.home, "status", "--watch", "shield") as typist:
        typist.sees("in slot .*holding")
        typist.sees(r"25 %.*step 1 of 2")
        typist.sees(r"candidate +\d+ requests")
        typist.sees(r"errors +\[.*of 100")
        typist.presses(b"p")
        typist.sees("Pause shield")
        typist.presses(b"y")
        typist.sees("paused")
        production.until(version, "paused", 2500)
        typist.presses(b"p")
        typist.sees("Let shield go on")
        typist.presses(b"y")
        typist.sees("holding")
        typist.presses(b"P")
        typist.sees("Take the next step of shield")
        typist.presses(b"n")
        typist.sees("q leave")
        assert [e for e in production.events("command") if e.data["verb"] == "promote"] == promoted
        typist.presses(b"P")
        typist.sees("Take the next step of shield")
        typist.presses(b"y")
        typist.sees(r"50 %.*step 2 of 2")
        typist.presses(b"r")
        typist.sees("Roll shield back, now")
        typist.presses(b"y")
        typist.sees("Rolled back in")
        typist.sees("fenced")
        assert typist.ends() == 6
    code, said = finish(release)
    assert code == 6, said
    assert production.live() == before
    code, said = finish(plain)
    assert code == 6 and f"shield {version} the candidate has 50 %" in said and "fenced" in said, said
    code, said = finish(events)
    assert code == 6 and '"kind":"gate"' in said and '"kind":"run_ended"' in said, said
