"""`ciflow rollback`: the rollback's generator over sessions, with the store where it can be had and without it else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, ExitCode, NoSuch, StoreError, Unreachable
from ciflow.engine.drive import Driver, nothing_before, refuse_render, sleep_only
from ciflow.engine.keys import Key, new_run
from ciflow.engine.link import Connection
from ciflow.engine.reached import API, LOCAL, connection_data, connection_from
from ciflow.engine.record import Recorder
from ciflow.engine.runner import runner
from ciflow.engine.wire import Wire
from ciflow.lang.files import Files
from ciflow.model import Api, Event, Operation, Read, Reply
from ciflow.rollout.rollback import Order, RolledBack, roll_back
from ciflow.rollout.routers import Manifest, Router, Slot, build
from ciflow.rollout.routers.kept import manifest_path
from ciflow.rollout.routers.kube_objects import MANIFEST, Place, leases_of
from ciflow.store.locks import Holder
from ciflow.store.store import Store
from ciflow.targets.api import ApiSession, open_session
from ciflow.targets.connection import connection_cap
from ciflow.targets.session import Session

PATIENCE = 2.0  # seconds that a host has to answer before the others are turned without it
MOST_NAMED = 5  # hosts in a message


@dataclass(frozen=True, slots=True)
class Asking:
    """What somebody asked for. `hosts` are where to look for the manifest when the store does not know the service;
    `inventory` says how to reach routers, before what the store or a manifest says."""

    service: str
    who: str
    reason: str = ""
    rehearse: bool = False
    break_glass: bool = False
    redeploy: bool = False
    hosts: tuple[Connection, ...] = (LOCAL,)
    inventory: tuple[str, ...] = ()
    files: Files = field(default_factory=Files.live, compare=False)  # that read the inventory
    way: str = ""  # by which it was asked for: the page, the API; "" for a command


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it. `run` is its number in the journal, "" when it could not be recorded; `took` in seconds."""

    result: RolledBack
    run: str
    took: float
    warnings: tuple[str, ...] = ()


def rollback(asking: Asking, open_store: Callable[[], Store]) -> Done:
    """Bring the former version back. Works with the store lost or its disk full; raises CiflowError in plain words."""
    began, seen = time.monotonic(), time.time()
    warnings: list[str] = []
    store = _store(open_store, warnings)
    try:
        run = new_run(len(store.runs()) if store else -1)
        journal = _Later(store, warnings)
        journal.append([_event(run, "run_started", _told(asking, run))])
        if asking.break_glass:
            journal.write()
        try:
            result = asyncio.run(_Rollback(asking, store, journal, run, warnings).go())
        except CiflowError as error:
            if error.exit_code != ExitCode.INVALID or asking.break_glass:
                journal.append(_vain(run, error))
                journal.write()
            raise
        took = time.monotonic() - began
        journal.append(_ending(run, asking, result, seen, took))
        journal.write()
        return Done(result, run if journal.works else "", took, tuple(warnings))
    finally:
        if store is not None:
            store.close()


class _Later:
    """A journal that turning back does not wait for: events are kept until `write`, and what can't be written then
    is said, once."""

    def __init__(self, store: Store | None, warnings: list[str]) -> None:
        self._store = store
        self._warnings = warnings
        self._kept: list[Event] = []
        self.works = store is not None

    def append(self, events: Sequence[Event]) -> int:
        self._kept.extend(events)
        return 0

    def write(self) -> None:
        events, self._kept = self._kept, []
        if self._store is None or not self.works:
            return
        try:
            self._store.append(events)
        except StoreError as error:
            self._warnings.append(f"not recorded: {error.message}")
            self.works = False


class _Rollback:
    """One process that rolls back."""

    def __init__(self, asking: Asking, store: Store | None, journal: _Later, run: str, warnings: list[str]) -> None:
        self.asking = asking
        self.store = store
        self.run = run
        self.warnings = warnings
        self.connections: dict[str, Connection] = {}
        self.recorder = Recorder(run, journal)

    async def go(self) -> RolledBack:
        wire = Wire(self.recorder, self._open, cap=connection_cap())
        driver = Driver(
            wire=wire,
            key=Key(self.run, "rollback", "", ()),
            connection=LOCAL,
            lane="rollback",
            controller=LOCAL,
            place_of=self.connections.__getitem__,
            render=refuse_render,
            hold=sleep_only,
            reached=nothing_before,
        )
        try:
            routers = self._known() or await self._found(wire)
            late = await self._late(wire, routers)
            return await driver.drive(roll_back(routers, self._order(), late))
        finally:
            self.recorder.commit()
            wire.close(ended=True)

    def _known(self) -> tuple[Router, ...]:
        """The routers that the store says the service has: those of all plays of the newest run that released it.

        One that claimed none was a check, or came no further: perhaps it named a router that there is not.
        """
        if self.store is None:
            return ()
        told = [*self.store.events(kinds=("routers", "dial_wanted"))]
        claimed = {(event.run, event.play) for event in told if event.kind == "dial_wanted"}
        events = [e for e in told if e.kind == "routers" and e.data["service"] == self.asking.service]
        events = [event for event in events if (event.run, event.play) in claimed] or events
        newest = {event.play: event.data for event in events if event.run == events[-1].run}
        routers: dict[tuple[str, str], Router] = {}  # two plays of a run may turn the same one: the later counts
        for data in newest.values():
            self.connections |= {name: self._way(name, values) for name, values in data["hosts"].items()}
            slots, edges, hosts = data["slots"], data["edges"], list(data["hosts"])
            built = build(data["router"], data["settings"], data["service"], slots, hosts, edges=edges, by=data["by"])
            where = json.dumps([data["router"], data["settings"]], sort_keys=True)
            routers |= {(router.host, where): router for router in built}
        return tuple(routers.values())

    def _way(self, name: str, values: Mapping[str, Any]) -> Connection:
        """How a router's host is reached: as the inventory says that somebody names, for the host may have moved since
        the journal was written."""
        if self.asking.inventory:
            from ciflow.engine.connect import connection_by_name

            try:
                return connection_by_name(name, self.asking.inventory, self.asking.files)
            except CiflowError as error:
                self.warnings.append(f"{name} is reached as the journal has it: {error.message}")
        return connection_from(values)

    async def _found(self, wire: Wire) -> tuple[Router, ...]:
        """The store is lost, or never knew: the manifest on the routers' hosts knows."""
        where = manifest_path(self.asking.service)
        asked = {host.name: host for host in self.asking.hosts}
        reads = {name: (host, Read(path=where)) for name, host in asked.items()}
        replies = await self._answered(wire, reads, "manifest", everyone=True)
        self.connections |= asked
        found: dict[str, Router] = {}
        for name, reply in replies.items():
            if name not in found and reply.ok:
                for router in self._of_manifest(reply.stdout.decode("utf-8", "replace"), name):
                    found.setdefault(router.host, router)
        found = found or await self._in_clusters(wire, asked)
        if not found:
            silent = [name for name in asked if name not in replies]
            raise _unknown(self.asking.service, where, list(replies), silent, self._services())
        return tuple(found.values())

    def _services(self) -> set[str]:
        """All that the store knows."""
        return {str(e.data["service"]) for e in self.store.events(kinds=("routers",))} if self.store else set()

    async def _in_clusters(self, wire: Wire, hosts: Mapping[str, Connection]) -> dict[str, Router]:
        """The service's routers in the clusters that the hosts mean, by the manifests beside the dials there."""
        places = {name: _place(connection) for name, connection in hosts.items()}
        first = {name: place for place, name in {place: name for name, place in reversed(places.items())}.items()}
        found: dict[str, Router] = {}
        for everywhere in (False, True):  # a service of another namespace is meant only where there is none here
            left = {n: p for n, p in first.items() if n not in found and not (everywhere and p.namespace)}
            leases = {n: (API, leases_of(self.asking.service, p, everywhere=everywhere)) for n, p in left.items()}
            asked = await self._answered(wire, leases, f"leases {everywhere}", everyone=True) if leases else {}
            for name, reply in asked.items():
                if reply.ok and (router := self._in_cluster(reply.data["objects"], name, first[name])):
                    found[name] = router
                elif not everywhere and first[name] != Place():
                    self.warnings.append(f"{first[name]} was asked in vain: {reply.error}")
        return found

    def _in_cluster(self, leases: Sequence[Mapping[str, Any]], name: str, place: Place) -> Router | None:
        """The one router that the leases of one cluster know of."""
        manifests = {one["metadata"]["namespace"]: (one["metadata"].get("annotations") or {}) for one in leases}
        known = {space: notes[MANIFEST] for space, notes in manifests.items() if MANIFEST in notes}
        if len(known) > 1:
            raise CiflowError(
                f"{place} has a service {self.asking.service} in each of {', '.join(sorted(known))}",
                help="say which: a host with ansible_kubectl_namespace in the inventory",
            )
        return next((_router_of(text, name, place, space) for space, text in known.items()), None)

    def _of_manifest(self, text: str, name: str) -> tuple[Router, ...]:
        """The service's routers as one of their hosts knows them, as far as the way to them is known."""
        manifest = Manifest.from_json(text)
        from ciflow.engine.connect import connection_by_name

        slots = {slot.name: {"address": slot.address, "port": slot.port} for slot in manifest.slots}
        others = set(manifest.hosts) - self.connections.keys() - {name}
        if not self.asking.inventory and name == LOCAL.name and others:
            # This machine is one of them, by the name that an inventory has for it: nobody here can say which.
            if len(others) > 1:
                known = ", ".join(sorted(others))
                what = f"{manifest.service} has routers on {known}"
                self.warnings.append(f"{what}: without `-i` only this machine's is turned")
            others = set()
        for host in others:
            try:
                self.connections[host] = connection_by_name(host, self.asking.inventory, self.asking.files)
            except CiflowError as error:
                self.warnings.append(f"{host} has a router of {manifest.service} too, not turned: {error.message}")
        hosts = [name, *(host for host in manifest.hosts if host != name and host in self.connections)]
        return build(manifest.router, manifest.settings, manifest.service, slots, hosts)

    async def _late(self, wire: Wire, routers: Sequence[Router]) -> frozenset[str]:
        """Hosts that take their time to answer, or don't: the others are turned before they are waited for."""
        if len(routers) < 2:
            return frozenset()
        asked = {}
        for router in routers:
            knock = router.knock
            place = API if isinstance(knock, Api) else self.connections[router.host]
            asked[router.host] = (place, knock)
        return frozenset(asked.keys() - (await self._answered(wire, asked, "knock")).keys())

    async def _answered(
        self, wire: Wire, asked: Mapping[str, tuple[Connection, Operation]], what: str, *, everyone: bool = False
    ) -> dict[str, Reply]:
        """The replies of those that answer within PATIENCE; with `everyone`, of those that answer at all where none
        did by then."""
        calls = {
            name: wire.call(to, "asking", f"{self.run}|{name}|{what}", operation, probe=True)
            for name, (to, operation) in asked.items()
        }
        answers = [call.answer for call in calls.values()]
        await asyncio.wait(answers, timeout=PATIENCE)
        if everyone and not any(answer.done() and not answer.exception() for answer in answers):
            await asyncio.wait(answers)
        done = {name: call.answer for name, call in calls.items() if call.answer.done()}
        return {name: answer.result() for name, answer in done.items() if not answer.exception()}

    def _order(self) -> Order:
        return Order(
            service=self.asking.service,
            who=self.asking.who,
            reason=self.asking.reason,
            now=time.time(),
            contested=self._contested(),
            runs=frozenset(self.store.runs() if self.store else ()),
            floor=self.store.locks.greatest_token() if self.store else 0,
            rehearse=self.asking.rehearse,
            break_glass=self.asking.break_glass,
            redeploy=self.asking.redeploy,
        )

    def _contested(self) -> bool | None:
        """Whether a rollout is under way. One whose process was killed may be resumed: then the manifest says."""
        held = self.store.locks.held(f"service:{self.asking.service}") if self.store else None
        if held is None:
            return None
        return False if held.holder is None else None if held.holder.gone() else True

    def _open(self, connection: Connection, inbox: Any) -> Session | ApiSession:
        return open_session(connection, project=f"rollback {self.run}", run=self.run, token=1, inbox=inbox)


def _unknown(
    service: str, where: str, answered: Sequence[str], silent: Sequence[str], known: Iterable[str]
) -> CiflowError:
    """Nobody knows the service; a host that did not answer may, or it is one of the `known` misspelt."""
    from ciflow.lang.near import nearest

    if not silent and (near := nearest(service, known)):
        return NoSuch(f"nothing is known of a service {service}", help=f"did you mean `ciflow rollback {near}`?")
    asked = f", nor in {where} on {_named(answered)}" if answered else ""
    message = f"nothing is known of a service {service}: neither here{asked}, nor in a cluster"
    help = (
        f"name the host that its router runs on: `ciflow rollback {service} --host HOST -i INVENTORY`; "
        "of a cluster, a host with ansible_kubectl_context"
    )
    if silent:
        return Unreachable(f"{message}; {_named(silent)} did not answer", help=help)
    return NoSuch(message, help=help)


def _named(hosts: Sequence[str]) -> str:
    return ", ".join(hosts) if len(hosts) <= MOST_NAMED else f"any of {len(hosts)} hosts"


def routers_data(
    service: str,
    kind: str,
    settings: Mapping[str, Any],
    slots: Mapping[str, Slot],
    edges: Sequence[float],
    by: str,
    hosts: Mapping[str, Connection],
) -> dict[str, Any]:
    """The event `routers`: how a later rollback finds and reaches the routers without playbook and inventory.

    Of a slot's variables only where it listens: the others are no business of a router, and may be secret.
    """
    return {
        "service": service,
        "router": kind,
        "settings": json.loads(json.dumps(dict(settings))),
        "slots": {name: {"address": slot.address, "port": slot.port} for name, slot in slots.items()},
        "edges": list(edges),
        "by": by,
        "hosts": {name: connection_data(connection) for name, connection in hosts.items()},
    }


def _place(connection: Connection) -> Place:
    """The cluster that a host means, by its variables."""
    kubeconfig = connection.option("kubeconfig") or connection.option("config")
    return Place(kubeconfig, connection.option("context"), connection.option("namespace"))


def _router_of(text: str, name: str, place: Place, namespace: str) -> Router:
    """A router in a cluster, as its manifest says, but by the way to it that is known here."""
    manifest = Manifest.from_json(text)
    here = {"kubeconfig": place.kubeconfig, "context": place.context, "namespace": namespace}
    settings = {key: value for key, value in {**manifest.settings, **here}.items() if value}
    slots = {slot.name: {"address": slot.address, "port": slot.port} for slot in manifest.slots}
    return build(manifest.router, settings, manifest.service, slots, [name])[0]


def _store(open_store: Callable[[], Store], warnings: list[str]) -> Store | None:
    try:
        return open_store()
    except StoreError as error:
        warnings.append(f"the journal can't be used: {error.message}")
        return None


def _told(asking: Asking, run: str) -> dict[str, Any]:
    what = f"rollback {asking.service}{' --rehearse' if asking.rehearse else ''}"
    holder = Holder.me(run, asking.who, f"ciflow {what}").to_data()
    told: dict[str, Any] = {"playbook": what, "who": asking.who, "reason": asking.reason, "on": runner()}
    told |= {"way": asking.way} if asking.way else {}
    return {**told, "break_glass": asking.break_glass, "holder": holder}


def _ending(run: str, asking: Asking, result: RolledBack, seen: float, took: float) -> list[Event]:
    """What it came to. Where nothing was turned, and all traffic seen on one version, that is known from now on."""
    decision, left = result.decision, [host for host, _ in result.failed]
    events = []
    if result.done and decision.source.version:
        told: dict[str, Any] = {"from": decision.source.version, "to": decision.target.version}
        told |= {"slot": decision.target.name, "who": asking.who, "reason": asking.reason or decision.why}
        told |= {"way": asking.way} if asking.way else {}
        events = [_event(run, "rollback", {"service": asking.service, **told, "took": round(took, 3), "left": left})]
    elif result.live.version:
        found = {"version": result.live.version, "slot": result.live.name, "token": result.token, "seen": seen}
        events = [_event(run, "found", {"service": asking.service, **found})]
    data = {"exit": int(result.code), "result": result.sentence(asking.service, rehearse=asking.rehearse)}
    return [*events, _event(run, "run_ended", data)]


def _vain(run: str, error: CiflowError) -> list[Event]:
    """Nothing was turned, and it is known who tried."""
    told = {"message": error.message, "help": error.help}
    ended = {"exit": int(error.exit_code), "result": error.message}
    return [_event(run, "error", told), _event(run, "run_ended", ended)]


def _event(run: str, kind: str, data: Mapping[str, Any]) -> Event:
    return Event(kind=kind, run=run, at=time.time(), data=data)
