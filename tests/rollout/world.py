"""A world in memory for the rollout: routers that are honest about tokens, shares, expiry and counters, and time.

A router's methods yield steps as real ones do, and the world answers them: so a controller can be killed between any
two steps, and replayed from the replies that were recorded.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ciflow.diagnostics import CiflowError, TargetError, Unreachable
from ciflow.encoding import encode_operation
from ciflow.model import (
    Abreast,
    At,
    CanaryStep,
    Change,
    Compile,
    Detached,
    Exec,
    Hold,
    Http,
    Note,
    Operation,
    Probe,
    Reply,
    Run,
    Stat,
    Step,
    Talk,
    Wait,
    Watch,
    Write,
)
from ciflow.rollout.controller import Controller
from ciflow.rollout.gates import gates_from
from ciflow.rollout.rollback import Order, RolledBack, roll_back
from ciflow.rollout.routers.counts import BAD, Counts, Sample, bad_before
from ciflow.rollout.routers.dial import (
    WHOLE,
    Asked,
    Dial,
    Fenced,
    Guard,
    Manifest,
    NotKept,
    RouterError,
    Slot,
    check_turn,
    kept_until,
    newest,
)
from ciflow.rollout.routers.guard import OnHost, answers
from ciflow.rollout.routers.kept import keep_file
from ciflow.rollout.spec import Ended, Spec

T = TypeVar("T")
SERVICE = "shield"


@dataclass
class Machine:
    """One router's process and its host, as the world knows them. `dial` is in force, `disk` what it starts with."""

    dial: Dial
    holds_expiry: bool
    disk: Dial | None = None
    identity: int = 1
    armed: float = 0.0  # when the agent's dead-man fires; 0: not armed
    fired: bool = False
    limit: float = 0.0  # of the candidate's errors, while a pause is guarded; 0: none
    down: int = 0  # operations that will fail from now on
    disk_full: bool = False
    requests: dict[str, float] = field(default_factory=lambda: {"a": 0.0, "b": 0.0})
    bad: dict[str, float] = field(default_factory=lambda: {"a": 0.0, "b": 0.0})
    visits: dict[str, float] = field(default_factory=lambda: {"a": 0.0, "b": 0.0})
    writes: list[tuple[str, int]] = field(default_factory=list)  # (who, token) in order
    cut: tuple[str, float] | None = None  # the slot whose connections will be cut, and when
    alone: dict[str, Detached] = field(default_factory=dict)  # what this host will do by itself
    silent: bool = False  # no slot answers, seen from here
    kept: str = ""  # the manifest's file beside the router

    @property
    def written(self) -> Dial:
        """The newest commit, in force or not."""
        return max((self.dial, self.disk or self.dial), key=Dial.order)

    def give_back(self) -> None:
        """By the agent: it ends the lease of what is in force, or copies what is on disk over it."""
        self.dial = (self.dial if self.holds_expiry else self.written).settled()
        self.armed, self.fired, self.limit = 0.0, True, 0.0


@dataclass
class World:
    """`rates` maps a slot to its share of bad answers; `traffic` is requests a second at each router."""

    machines: dict[str, Machine]
    now: float = 1000.0
    unreachable: frozenset[str] = frozenset()  # hosts that a rollback gets no connection to
    tried: list[str] = field(default_factory=list)  # those of them that it tried, in order
    traffic: float = 400.0
    testers: float = 0.0  # requests a second at each router that a header sends to the candidate
    sends: float | None = None  # of the requests to slot b while the dial is turned, whatever it says
    draws: float | None = None  # of the users, the same
    rates: dict[str, float] = field(default_factory=lambda: {"a": 0.0, "b": 0.0})
    metric: Callable[[str, float], Reply] = lambda url, now: Reply(ok=False, error="no provider")  # noqa: ARG005

    def pass_time(self, seconds: float) -> None:
        while seconds > 1e-9:
            part = min(0.5, seconds)
            for machine in self.machines.values():
                self._serve(machine, part)
            self.now += part
            seconds -= part
            for machine in self.machines.values():
                self._guard(machine)

    def _serve(self, machine: Machine, seconds: float) -> None:
        said = machine.dial.share / WHOLE
        turned = not machine.dial.at_rest
        share_b = self.sends if self.sends is not None and turned else said
        drawn_b = self.draws if self.draws is not None and turned else said
        self._copy(machine, seconds)
        for slot, share, drawn in (("a", 1 - share_b, 1 - drawn_b), ("b", share_b, drawn_b)):
            machine.visits[slot] += self.traffic * seconds * drawn
            machine.requests[slot] += self.traffic * seconds * share
            machine.bad[slot] += self.traffic * seconds * share * self.rates[slot]

    def _copy(self, machine: Machine, seconds: float) -> None:
        """Testers and copies of requests, beside the share."""
        dial = machine.dial
        count = (self.testers + self.traffic * dial.mirror / WHOLE) * seconds if dial.live else 0.0
        machine.requests[dial.candidate] += count
        machine.bad[dial.candidate] += count * self.rates[dial.candidate]

    def _guard(self, machine: Machine) -> None:
        dial = machine.dial
        if machine.holds_expiry and dial.expires and self.now >= dial.expires:
            machine.dial = dial.settled()
        broken = machine.limit and machine.bad[dial.candidate] > machine.limit
        if machine.armed and (self.now >= machine.armed or broken):
            machine.give_back()

    def restart(self, name: str) -> None:
        """The router's process begins anew: on the safe share, with new counters."""
        machine = self.machines[name]
        machine.dial, machine.identity = machine.written.settled(), machine.identity + 1
        machine.requests, machine.bad, machine.visits = ({"a": 0.0, "b": 0.0} for _ in range(3))

    def answer(self, step: At, who: str) -> Reply:
        """What the host of a router says to one operation."""
        operation = step.step.operation
        if step.place == "controller":
            assert isinstance(operation, Http), operation
            return self.metric(operation.url, self.now)
        machine = self.machines[step.place]
        if machine.down:
            machine.down -= 1
            return Reply(ok=False, error="connection refused")
        if not isinstance(operation, Talk):
            if isinstance(operation, Write):
                machine.kept = operation.content.decode()
            if isinstance(operation, Detached) and operation.verb == "start":
                machine.alone[operation.key] = operation
            elif isinstance(operation, Detached):
                machine.alone.pop(operation.key, None)
            return Reply(ok=not (machine.silent and isinstance(operation, Wait)))
        asked = json.loads(operation.payload)
        return getattr(self, f"_{asked.pop('verb')}")(machine, who=who, **asked)  # type: ignore[no-any-return]

    def _read(self, machine: Machine, who: str) -> Reply:  # noqa: ARG002
        return Reply(data={"dial": machine.dial, "disk": machine.disk})

    def _write(self, machine: Machine, who: str, to: str, seen: str) -> Reply:  # noqa: ARG002
        """The disk, by compare-and-set: of two writers one goes on."""
        if _told(machine.disk) != seen:
            return Reply(status="refused", ok=False)
        if machine.disk_full:
            return Reply(errno="ENOSPC")
        machine.disk = Dial.from_json(to)
        return Reply()

    def _turn(self, machine: Machine, who: str, to: str, seen: str, expires: float) -> Reply:
        """What is in force, by compare-and-set."""
        dial = replace(Dial.from_json(to), expires=expires)
        if _told(machine.dial) != seen:
            return Reply(status="refused", ok=False)
        assert dial.token >= machine.dial.token, "a smaller token was written"
        machine.writes.append((who, dial.token))
        machine.dial = dial if machine.holds_expiry else replace(dial, expires=0.0)
        return Reply()

    def _arm(self, machine: Machine, who: str, after: float, limit: float, renew: bool) -> Reply:  # noqa: ARG002
        if after <= 0:
            machine.armed, machine.limit = 0.0, 0.0
        elif not renew or machine.armed:
            machine.armed = self.now + after
            machine.fired = False
            machine.limit = machine.limit if renew else limit
        if renew and machine.armed and machine.holds_expiry and not machine.dial.at_rest:
            machine.dial = replace(machine.dial, expires=machine.armed, revision=machine.dial.revision + 1)
        return Reply(data={"armed": bool(machine.armed), "fired": machine.fired})

    def _cut(self, machine: Machine, who: str, slot: str, after: float) -> Reply:  # noqa: ARG002
        machine.cut = (slot, self.now + after) if slot else None
        return Reply()

    def _counts(self, machine: Machine, who: str) -> Reply:  # noqa: ARG002
        slots = {}
        for slot in ("a", "b"):
            seen = int(machine.visits[slot])
            numbers = {"requests": int(machine.requests[slot]), "bad": int(machine.bad[slot]), "seen": seen}
            slots[slot] = {**numbers, "users": {BAD: (seen, int(machine.visits[slot] * self.rates[slot]))}}
        return Reply(data={"identity": str(machine.identity), "slots": slots}, started=self.now)

    def copy(self) -> World:
        return copy.deepcopy(self)


def _told(dial: Dial | None) -> str:
    """What a compare-and-set compares."""
    return dial.to_json() if dial else ""


@dataclass(frozen=True)
class FakeRouter(OnHost):
    """See `dial.Router`: read, write, arm, compare-and-set and read back are steps of their own, as with real ones, so
    that what is written down may be ahead of what is in force, or behind it."""

    host: str
    kind: str = "fake"
    service: str = SERVICE
    holds_expiry: bool = False
    counted: bool = True

    def _ask(self, verb: str, **values: Any) -> Asked[Reply]:
        talk = Talk(address="router", payload=json.dumps({"verb": verb, **values}).encode())
        reply = yield At(self.host, Change(talk) if verb in ("write", "turn", "arm", "cut") else Probe(talk))
        if not reply.ok and reply.status != "refused":
            raise RouterError(f"{verb} on {self.host}: {reply.error}")
        return reply

    def prepare(self, first: Dial) -> Asked[Dial]:  # noqa: ARG002
        return (yield from self.read())

    def read(self) -> Asked[Dial]:
        in_force, disk = yield from self._both()
        return newest(in_force, disk)

    def _both(self) -> Asked[tuple[Dial, Dial | None]]:
        reply = yield from self._ask("read")
        return reply.data["dial"], reply.data["disk"]

    def turn(self, to: Dial, expect: int, lease: float = 0.0) -> Asked[Dial]:
        in_force, disk = yield from self._both()
        now = newest(in_force, disk)
        check_turn(self, now, to, expect, lease)
        to = replace(to, revision=now.revision + 1 if to.token == now.token else 1)
        until = kept_until(to, now)
        kept = yield from self._set("write", expect, to=until.to_json(), seen=_told(disk))
        expires = 0.0
        if not to.at_rest:
            yield from self._arm(lease, 0.0, renew=False)
            expires = (yield from self._ask("counts")).started + lease
        yield from self._set("turn", expect, to=to.to_json(), seen=_told(in_force), expires=expires)
        found = yield from self.read()
        if found.order() > to.order():
            raise Fenced(self.service, self.host, expect, found)
        if found.share != to.share:
            raise RouterError(f"{self.host} did not take the share")
        if not to.at_rest and not (yield from self._arm(lease, 0.0, renew=True)).armed:
            yield from self._arm(lease, 0.0, renew=False)
        if until != to.settled() and not kept.errno:
            kept = yield from self._set("write", expect, to=to.to_json(), seen=_told(until))
        if kept.errno and to.at_rest:
            raise NotKept(f"{self.host}'s disk is full", found)
        return found

    def _set(self, verb: str, expect: int, **values: Any) -> Asked[Reply]:
        reply = yield from self._ask(verb, **values)
        if reply.status == "refused":
            raise Fenced(self.service, self.host, expect, (yield from self.read()))
        return reply

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002
        reply = yield from self._ask("counts")
        slots = {slot: Counts(**numbers) for slot, numbers in reply.data["slots"].items()}
        return Sample(self.host, reply.data["identity"], reply.started, slots)

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:
        now = yield from self.read()
        if now.token != expect:
            raise Fenced(self.service, self.host, expect, now)
        return (yield from self._arm(after, (watch[0].limit or 0.0) if watch else 0.0, renew=renew))

    def _arm(self, after: float, limit: float, *, renew: bool) -> Asked[Guard]:
        reply = yield from self._ask("arm", after=after, limit=limit, renew=renew)
        return Guard(bool(reply.data["armed"]), bool(reply.data["fired"]))

    @property
    def knock(self) -> Operation:
        return Stat(path="/")

    def keep(self, manifest: Manifest) -> Asked[None]:
        yield from keep_file(self.host, manifest)

    def answers(self, slot: Slot) -> Asked[bool]:
        return (yield from answers(self.host, slot))

    def can_cut(self, after: float) -> Asked[None]:  # noqa: ARG002
        yield from ()

    def cut(self, slot: str, after: float) -> Asked[None]:
        yield from self._ask("cut", slot=slot, after=after)

    def unclaimed(self, token: int) -> Operation:
        return Talk(address="router", payload=json.dumps({"verb": "unclaimed", "token": token}).encode())

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        limit = bad_before(since, slot) + more
        return (Watch(read=Talk(address="router", payload=slot.encode()), pattern="", limit=limit),)


def slots() -> Mapping[str, Slot]:
    return {name: Slot(name, "127.0.0.1", 8000 + number) for number, name in enumerate("ab")}


@dataclass
class Release:
    """A controller's generator in the world, killed and replayed as the engine does it.

    Each answer is recorded before the next step: a replay gets the same, and where the record ends the first hold
    says `resumed`. `told` are the notes.
    """

    world: World
    spec: Spec
    record: list[Reply | TargetError] = field(default_factory=list)
    told: list[Note] = field(default_factory=list)
    ended: Ended | CiflowError | None = None
    resumed: bool = False
    word: dict[str, Any] = field(default_factory=dict)  # what somebody says in the next hold
    fail_run: str = ""  # label of a task list that fails
    unreachable: int = 0  # steps at hosts whose connection breaks
    left: bool = False  # the process has ended paused (exit 8)
    retires_at: tuple[str, ...] = ()  # places where `retire` comes to one operation
    news: Callable[[Hold], dict[str, Any]] = lambda step: {}  # noqa: ARG005 - what the others of one release have done

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.controller = Controller(self.spec, [FakeRouter(name) for name in self.world.machines])
        self.steps = taking_turns(self.controller.run())
        self.number = 0
        self.step: Step | None = None
        self._send(None)

    def kill(self) -> None:
        """The process is gone, and another takes the run up: all that was recorded is replayed."""
        self.told.clear()
        self._begin()
        for answer in list(self.record):
            self._note()
            self._send(answer)
        self.resumed, self.left = True, False

    def go(self, most: int) -> bool:
        """Answer so many steps, up to and without the next hold. False when the rollout has ended or left."""
        for _ in range(most):
            if self.ended is not None or self.left or isinstance(self.step, Hold):
                break
            self._answer(self._reply())
        return self.ended is None and not self.left

    def hold(self) -> None:
        """Let the hold pass, with what somebody said; a guarded pause ends the process instead."""
        assert isinstance(self.step, Hold)
        if self.step.why == "paused" and not self.resumed:
            self.left = True
            return
        if self.resumed:
            self.resumed = False
            self._answer(Reply(data={"resumed": True}, started=self.world.now))
            return
        self.world.pass_time(self.step.seconds)
        word, self.word = self.word or self.news(self.step), {}
        self._answer(Reply(data=word, duration=self.step.seconds, started=self.world.now))

    def _reply(self) -> Reply | TargetError:
        step = self.step
        self._note()
        if isinstance(step, At):
            if self.unreachable:
                self.unreachable -= 1
                return Unreachable(f"no connection to {step.place}")
            return self.world.answer(step, "controller")
        if isinstance(step, Compile):
            self.compiled_for = step.vars
            stop = encode_operation(Exec(argv=("stop",)))
            return Reply(data={"places": {place: [stop] for place in self.retires_at}})
        if isinstance(step, Run) and step.label == self.fail_run:
            return Reply(ok=False, error="exit code 1")
        return Reply()

    def _note(self) -> None:
        if isinstance(self.step, Note):
            self.told.append(self.step)

    def _answer(self, answer: Reply | TargetError) -> None:
        self.record.append(answer)
        self._send(answer)

    def _send(self, answer: Reply | TargetError | None) -> None:
        try:
            if isinstance(answer, TargetError):
                self.step = self.steps.throw(answer)
            else:
                self.step = self.steps.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            self.ended, self.step = stop.value, None
        except CiflowError as error:
            self.ended, self.step = error, None

    @property
    def states(self) -> list[str]:
        return [note.data["state"] for note in self.told if note.kind == "canary_state"]


def taking_turns(steps: Asked[T]) -> Asked[T]:
    """The same steps without `Abreast`: its parts take turns, a step each."""
    reply: Reply | None = None
    error: CiflowError | None = None
    while True:
        try:
            step = steps.throw(error) if error else steps.send(reply)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        reply, error = Reply(), None
        if isinstance(step, Abreast):
            yield from _in_turns(step)
            continue
        try:
            reply = yield step
        except CiflowError as thrown:
            error = thrown


def _in_turns(abreast: Abreast) -> Asked[None]:
    waiting: list[tuple[Asked[None], Reply | CiflowError | None]] = [(part, None) for part in abreast.parts]
    while waiting:
        part, answer = waiting.pop(0)
        try:
            step = part.throw(answer) if isinstance(answer, CiflowError) else part.send(answer)  # type: ignore[arg-type]
        except StopIteration:
            continue
        assert not isinstance(step, Abreast), "parts of parts are not tried here"
        try:
            waiting.append((part, (yield step)))
        except CiflowError as thrown:
            waiting.append((part, thrown))


def drive(world: World, asked: Asked[T], who: str) -> T:
    """A whole generator at once, as another process would run it."""
    steps = taking_turns(asked)
    reply, error = Reply(), None
    begun = False
    while True:
        try:
            step = steps.throw(error) if error else steps.send(reply if begun else None)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        begun, error = True, None
        if isinstance(step, Hold):
            world.pass_time(step.seconds)
        if isinstance(step, At) and step.place in world.unreachable:
            world.tried.append(step.place)
            error = Unreachable(f"no connection to {step.place}")
        else:
            reply = world.answer(step, who) if isinstance(step, At) else Reply(started=world.now)


def take_back(
    world: World, *, contested: bool | None, now: float | None = None, late: tuple[str, ...] = (), **more: Any
) -> RolledBack:
    """`ciflow rollback` from another shell."""
    more = {"runs": frozenset({"", "R-1"}), **more}
    order = Order(SERVICE, "somebody", "because", world.now if now is None else now, contested, **more)
    steps = roll_back([FakeRouter(name) for name in world.machines], order, frozenset(late))
    return drive(world, steps, "rollback")


def world_of(*hosts: str, live: str = "a", other: str = "") -> World:
    """`live` holds 1.0, observed good; the other slot holds the version `other`, cold and usable."""
    known = []
    for name, slot in slots().items():
        if name == live:
            known.append(replace(slot, version="1.0", observed_good=True))
        else:
            known.append(replace(slot, version=other, observed_good=bool(other), warm_until=1.0 if other else 0.0))
    manifest = Manifest(SERVICE, "fake", {}, hosts, tuple(known) if live else ())
    dial = Dial(WHOLE if live == "b" else 0, 3 if live else 0, live, manifest if live else Manifest(SERVICE))
    return World({host: Machine(dial, holds_expiry=number % 2 == 1) for number, host in enumerate(hosts)})


def spec_of(**changes: Any) -> Spec:
    """Two steps, short times; gates that an honest candidate passes in seconds."""
    gates = gates_from([{"errors": {"tolerate": 1.25, "floor": 0.1}}])
    usual: dict[str, Any] = {
        "service": SERVICE, "version": "2.0", "release": "R-1/roll", "who": "tester", "router": "fake",
        "settings": {}, "slots": slots(), "slot_vars": {"a": {}, "b": {}},
        "steps": (CanaryStep(500, 3.0), CanaryStep(5000, 3.0)), "deploy": (), "verify": (), "gates": gates,
        "token": 2, "now": 1000.0, "interval": 1.0, "deadline": 20.0, "dead_man": 5.0, "warm_up": 1.0, "bake": 3.0,
        "keep_warm": 600.0, "sick_for": 5.0,
    }  # fmt: skip
    return Spec(**{**usual, **changes})
