"""What a rollback decides from one dial, and what it does to several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ciflow.rollout.rollback import Order, decide
from ciflow.rollout.routers.dial import WHOLE, Dial, Manifest, RouterError, Slot, as_one
from tests.rollout.world import SERVICE, World, take_back, world_of

NOW = 1000.0


def dial(share: int = 0, live: str = "a", b: dict[str, Any] | None = None, **a: Any) -> Dial:
    slots = (Slot("a", **{"version": "1.0", "observed_good": True, **a}), Slot("b", **(b or {})))
    return Dial(share, 3, live, Manifest(SERVICE, slots=slots, release="R-1/roll"))


def order(contested: bool | None = False, **more: Any) -> Order:
    return Order(SERVICE, "ann", "because", NOW, contested, **{"runs": frozenset({"R-1"}), **more})


WARM = {"version": "0.9", "observed_good": True, "warm_until": NOW + 60}
HALF = {"version": "2.0", "usable": False}


@pytest.mark.parametrize(
    ("at", "asked", "kind"),
    [
        (dial(500, b=HALF), order(), "abort"),
        (dial(500, b=HALF), order(contested=None), "abort"),
        (dial(b=WARM), order(), "back"),
        (dial(b={**WARM, "warm_until": NOW - 1}), order(), "cold"),
        (dial(b={**WARM, "warm_until": NOW - 1}), order(break_glass=True), "back"),
        (dial(b={**WARM, "observed_good": False}), order(), "nothing"),
        (dial(b={**WARM, "observed_good": False}), order(break_glass=True), "back"),
        (dial(b={**WARM, "observed_good": False}, observed_good=False), order(), "back"),
        (dial(b={**WARM, "usable": False}), order(break_glass=True), "nothing"),
        (dial(b=WARM, irreversible=("Migrate",)), order(), "crosses"),
        (dial(b=WARM, irreversible=("Migrate",)), order(break_glass=True), "back"),
        (dial(500, b=HALF, irreversible=("Migrate",)), order(), "abort"),
        (dial(500, b={**HALF, "irreversible": ("Migrate",)}), order(), "abort"),
        (dial(b={"lost": "0.9"}), order(), "nothing"),
        (dial(b={"lost": "0.9"}), order(redeploy=True), "lost"),
        (dial(b={**HALF, "lost": "0.9"}), order(contested=True), "fence"),
        (dial(b=HALF), order(), "nothing"),
        (dial(b=HALF), order(contested=True), "fence"),
        (dial(b=HALF), order(contested=None), "fence"),
        (dial(b=HALF), order(runs=frozenset({"R-2"})), "fence"),  # another journal's release: here nobody can say
        (dial(), order(runs=frozenset()), "nothing"),
        (dial(), order(contested=None), "nothing"),
        (dial(), order(contested=True), "fence"),
        (dial(live=""), order(), "nothing"),
        (dial(live=""), order(contested=True), "fence"),
    ],
)
def test_the_decision(at: Dial, asked: Order, kind: str) -> None:
    assert decide(at, asked).kind == kind


@pytest.mark.parametrize(
    ("at", "to", "share"),
    [
        (dial(500, b=HALF), "a", 500),
        (dial(9_500, "b", b={"version": "2.0"}, version="", usable=False), "b", 500),
        # a promotion that is written down and not in force yet: of b, then of a
        (dial(5_000, "b", b={"version": "2.0"}), "a", 5_000),
        (dial(4_000, "a", b={"version": "0.9", "observed_good": True}, observed_good=False), "b", 6_000),
        # no promotion: the live version was observed good, and somebody else has set the share
        (dial(0, "b", b={"version": "2.0", "observed_good": True}), "b", 10_000),
    ],
)
def test_under_way_the_traffic_goes_to_who_had_all_of_it_before(at: Dial, to: str, share: int) -> None:
    """`share` of the requests met the version that is left."""
    decision = decide(at, order(contested=True))
    assert (decision.kind, decision.target.name, decision.share) == ("abort", to, share)


def test_what_any_router_needs_all_do() -> None:
    turned, resting = dial(500, b=HALF), dial(b=HALF)
    assert decide(as_one([resting, turned]), order(contested=True)) == decide(turned, order(contested=True))


@pytest.mark.parametrize(
    ("dials", "to", "share"),
    [
        # promoted at one router: the other was not reached, or has been given back by its dead-man
        ((dial(WHOLE, "b", b={"version": "2.0"}), dial(5_000, b=HALF)), "a", 5_000),
        ((dial(WHOLE, "b", b={"version": "2.0"}), dial(0, b=HALF)), "a", 0),
        # rolled back at one, and the other not reached
        ((replace(dial(b={"usable": False}), token=4), dial(WHOLE, "b", b={"version": "2.0"})), "a", WHOLE),
    ],
)
def test_routers_that_disagree_go_where_the_newest_word_leads(dials: tuple[Dial, Dial], to: str, share: int) -> None:
    newest = replace(dials[0], manifest=replace(dials[0].manifest, when=2.0))
    for known in ([newest, dials[1]], [dials[1], newest]):
        decision = decide(as_one(known), order())
        assert (decision.kind, decision.target.name) == ("abort", to)
        assert as_one(known).share == share


def test_a_rehearsal_writes_nothing_and_says_what_it_would_do() -> None:
    world = half_way()
    before = {name: machine.dial for name, machine in world.machines.items()}
    found = take_back(world, contested=True, rehearse=True)
    assert (found.decision.kind, found.done) == ("abort", ())
    assert {name: machine.dial for name, machine in world.machines.items()} == before


def test_one_router_that_is_gone_holds_up_no_other_and_is_named() -> None:
    world = half_way()
    world.machines["web1"].down = 100
    found = take_back(world, contested=True)
    assert found.done == ("web2",) and [host for host, _ in found.failed] == ["web1"]
    assert world.machines["web2"].dial.at_rest
    world.machines["web1"].down = 0
    assert take_back(world, contested=True).done == ("web1", "web2")
    assert world.machines["web1"].dial.at_rest


def test_no_router_at_all_is_an_error_that_names_the_dead_man() -> None:
    world = half_way()
    for machine in world.machines.values():
        machine.down = 100
    with pytest.raises(RouterError, match="no router of shield answers") as caught:
        take_back(world, contested=True)
    assert "dead-man" in caught.value.help


def test_the_dead_man_is_disarmed_and_the_token_greater_than_all() -> None:
    world = half_way()
    found = take_back(world, contested=True, floor=40)
    assert found.token == 41
    assert {(m.dial.token, m.armed, m.dial.live) for m in world.machines.values()} == {(41, 0.0, "a")}
    for machine in world.machines.values():
        assert (machine.dial.manifest.who, machine.dial.manifest.why) == ("somebody", "because")
        assert machine.dial.manifest.slot("b") == replace(machine.dial.manifest.slot("b"), version="", usable=False)


def test_a_router_whose_host_can_not_be_reached_holds_up_no_other() -> None:
    world = half_way()
    world.unreachable = frozenset({"web1"})
    found = take_back(world, contested=True)
    assert (found.done, found.failed) == (("web2",), (("web1", "no connection to web1"),))
    assert world.machines["web2"].dial.at_rest


def test_a_host_that_takes_its_time_is_turned_after_the_others() -> None:
    world = half_way()
    assert take_back(world, contested=True, late=("web1",)).done == ("web2", "web1")
    world = half_way()
    world.unreachable = frozenset({"web1"})
    assert take_back(world, contested=True, late=("web1",)).done == ("web2",)
    assert world.tried == ["web1"], "asked once, at the end"
    assert take_back(world, contested=False, late=("web1", "web2")).decision.kind == "nothing"


def test_the_router_that_was_left_is_turned_by_the_same_command_later() -> None:
    world = half_way()
    for machine in world.machines.values():
        machine.dial = promoted(machine.dial)
    world.unreachable = frozenset({"web2"})
    assert take_back(world, contested=False).done == ("web1",)
    world.unreachable = frozenset()
    left = take_back(world, contested=False).decision
    assert (left.kind, left.source.version, left.target.version) == ("abort", "2.0", "1.0")
    assert {machine.dial.live for machine in world.machines.values()} == {"a"}
    assert take_back(world, contested=False).decision.kind == "nothing"


def test_a_rehearsal_finds_a_version_that_does_not_answer_any_more() -> None:
    world = half_way()
    world.machines["web2"].silent = True
    found = take_back(world, contested=True, rehearse=True)
    assert (found.decision.kind, found.silent) == ("abort", ("web2",))


def test_a_cold_version_is_asked_whether_it_still_answers() -> None:
    world = half_way()
    for machine in world.machines.values():
        machine.dial = promoted(machine.dial, warm_until=world.now - 1)
    assert take_back(world, contested=False).decision.kind == "cold"
    world.machines["web1"].silent = True
    found = take_back(world, contested=False, break_glass=True)
    assert found.decision.kind == "cold" and "nothing answers at 127.0.0.1:8000" in found.decision.why
    world.machines["web1"].silent = False
    assert take_back(world, contested=False, break_glass=True).done == ("web1", "web2")


def test_connections_to_the_slot_that_was_left_are_cut_after_drain() -> None:
    world = half_way()
    for machine in world.machines.values():
        machine.dial = replace(machine.dial, manifest=replace(machine.dial.manifest, drain=7.0))
    began = world.now
    take_back(world, contested=True)
    assert {machine.cut for machine in world.machines.values()} == {("b", began + 7.0)}


def promoted(dial: Dial, warm_until: float = 0.0) -> Dial:
    """Version 2.0 is live in b, and 1.0 stays in a."""
    known = {slot.name: slot for slot in dial.manifest.slots}
    slots = (replace(known["a"], warm_until=warm_until), replace(known["b"], usable=True))
    return replace(dial, share=WHOLE, live="b", manifest=replace(dial.manifest, slots=slots))


def half_way() -> World:
    world = world_of("web1", "web2")
    for machine in world.machines.values():
        slots = tuple(
            replace(s, version="2.0", usable=False) if s.name == "b" else s for s in machine.dial.manifest.slots
        )
        manifest = replace(machine.dial.manifest, slots=slots)
        machine.dial = replace(machine.dial, share=WHOLE // 2, manifest=manifest)
        machine.armed = world.now + 5
    return world
