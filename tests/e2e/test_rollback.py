"""`ciflow rollback` from another shell, while a release is under way and users are there: it wins, and none fails."""

from __future__ import annotations

import time

import pytest

from tests.e2e.service import Service, finish

STATES = {"deploying": 3, "verifying": 3, "holding": 0, "baking": 0}  # seconds that the release stays there


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


def test_a_service_that_nobody_knows_is_said_plainly(production: Service) -> None:
    code, said = production.ciflow("rollback", "unheard-of")
    assert code == 1 and "nothing is known of a service unheard-of" in said and "--host" in said, said
