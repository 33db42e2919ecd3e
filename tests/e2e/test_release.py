"""Releases as people make them, under load: good ones, faulty ones, and the way back."""

from __future__ import annotations

import time

import pytest

from tests.e2e.service import Service, finish

both = pytest.mark.parametrize("production", ["envoy", "haproxy"], indirect=True)


@both
def test_a_good_release_gets_all_traffic_and_loses_no_request(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, said = finish(production.apply(version))
    assert code == 0, said
    assert production.live() != before and production.ran(version) == ["deploy", "after", "verify"]


@both
def test_a_faulty_release_is_turned_back_by_its_gate(production: Service) -> None:
    version, before = production.next(fault=0.5), production.live()
    with production.no_request_fails(by_router=False):
        code, said = finish(production.apply(version))
    assert code == 7, said
    assert production.live() == before
    turned = [e.data for e in production.events("dial") if e.data["version"] == version]
    assert turned[-1]["weight"] == 0 and turned[-1]["verified"] is True


@both
def test_rollback_of_a_good_release_brings_everybody_back_and_a_second_has_nothing_to_do(production: Service) -> None:
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    assert code == 0, said
    with production.no_request_fails():
        began, at = time.monotonic(), time.monotonic()
        code, said = production.ciflow("rollback", "shield")
        took = time.monotonic() - began
        time.sleep(0.3)
        new = next(slot for slot in "ab" if slot != before)
        last = production.users.last[new] - at
    print(
        f"\n{production.kind}: rollback took {took:.2f} s as a whole process, last answer of the version {last:.2f} s"
    )
    assert code == 0 and "Rolled back" in said, said
    assert production.live() == before
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said, said
