"""Other ways than step by step: testers alone, copies of requests, all at once; what ends a way that shows nothing;
and what the next release may not take."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.service import Service, finish, service
from tests.rollout.rig import get

TESTER = {"name": "X-Canary", "value": "yes"}


@pytest.fixture(scope="module")
def production() -> Iterator[Service]:
    """Its router knows testers, and can copy requests."""
    with service("envoy", header=TESTER, mirror=True) as found:
        yield found


def way(production: Service, steps: str, **changes: str) -> str:
    """A playbook with other steps, or other words of a canary."""
    path = production.write("way.yml")
    text = path.read_text()
    begin = text.index("      steps:")
    text = text[:begin] + f"      steps: {steps}\n" + text[text.index("\n", begin) + 1 :]
    for word, value in changes.items():
        text = text.replace("      interval:", f"      {word}: {value}\n      interval:")
    path.write_text(text)
    return path.name


@contextlib.contextmanager
def asked_by_testers(port: int) -> Iterator[list[tuple[int, str]]]:
    """Somebody who asks with the header until left; what they were answered."""
    answers: list[tuple[int, str]] = []
    left = threading.Event()

    def ask() -> None:
        while not left.wait(0.01):
            answers.append(get(port, headers={TESTER["name"]: TESTER["value"]}))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        left.set()
        asking.join()


def test_testers_alone_meet_the_candidate_and_what_they_meet_decides(production: Service) -> None:
    """No share is given to anybody: A/B by the header only. The first is good, the second fails for its testers."""
    steps = "[{weight: 0%, hold: 1s}, {weight: 50%, hold: 1s}]"
    version, before = production.next(), production.live()
    with asked_by_testers(production.port) as answers:
        code, said = finish(production.apply(version, playbook=way(production, steps)))
        assert code == 0, said
        now = production.live()
        assert now != before and (200, now) in answers
        faulty = production.next(0.9)
        with production.no_request_fails():
            code, said = finish(production.apply(faulty, playbook=way(production, steps)))
        assert code == 7, said
    assert {slot for _, slot in production.users.seen} == {now}, "nobody without the header met it"
    assert any(status == 500 for status, _ in answers)
    weights = [e.data["weight"] for e in production.events("dial") if e.data["version"] == faulty]
    assert set(weights) == {0}


def test_copies_of_requests_are_judged_and_nobody_sees_their_answers(production: Service) -> None:
    faulty, before = production.next(0.9), production.live()
    with production.no_request_fails():
        code, said = finish(production.apply(faulty, playbook=way(production, "[{mirror: 50%, hold: 20s}, 50%]")))
    assert code == 7, said
    assert {slot for _, slot in production.users.seen} == {before} == {production.live()}
    met = [e.data["candidate"] for e in production.events("interval") if e.data["step"] == 0]
    assert sum(one["bad"] for one in met) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("what", "code"), [("rollback", 7), ("promote", 0)])
def test_a_way_that_shows_too_little_ends_at_its_deadline_as_the_playbook_says(
    production: Service, what: str, code: int
) -> None:
    """A hold that is longer than the deadline has shown too little when that comes."""
    version, before = production.next(), production.live()
    playbook = way(production, "[{weight: 25%, hold: 9s}]", on_inconclusive=what)
    ended, said = finish(production.apply(version, playbook=playbook, deadline="1s", bake="0s"))
    assert ended == code, said
    assert (production.live() == before) == (what == "rollback")
    if what == "rollback":
        assert "inconclusive at the deadline" in said, said


@pytest.mark.slow
def test_blue_green_is_verified_then_has_all_traffic_at_once(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, said = finish(production.apply(version, playbook=way(production, "[100%]")))
    assert code == 0, said
    assert production.live() != before and production.ran(version)[-1] == "verify"
    weights = [e.data["weight"] for e in production.events("dial") if e.data["version"] == version]
    assert weights == [10_000]


def test_the_next_release_takes_nothing_that_a_rollback_goes_back_to(production: Service) -> None:
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    following, path = production.next(), str(production.home / "release.yml")
    with production.no_request_fails():
        code, said = production.ciflow("apply", path, "-e", f"version={following}")
        assert code == 6 and "still keeps shield" in said and "--replace-warm" in said, said
        assert production.ran(version) and not (production.home / "ran").read_text().count(f" {following}\n")
        code, said = production.ciflow("rollback", "shield")
    assert code == 0 and production.live() == before, said
