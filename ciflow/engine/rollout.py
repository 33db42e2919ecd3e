"""A canary play: the controller's generator on one side, sessions and the stage's tasks on the other."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import CiflowError, Diagnostic, Invalid, Locked, StoreError
from ciflow.engine.drive import Driver, nothing_before, refuse_render
from ciflow.engine.keys import Key
from ciflow.engine.people import Commands, People
from ciflow.engine.require import check_required
from ciflow.engine.result import PausedRun
from ciflow.engine.retire import Places, compiled
from ciflow.engine.rollback import routers_data
from ciflow.engine.together import Together
from ciflow.lang.canary import ASKED, COUNT_USERS
from ciflow.lang.scope import MISSING, Scope
from ciflow.lang.template import render
from ciflow.model import Canary, Hold, Reply, Run
from ciflow.plan.compile import cells_of, irreversible
from ciflow.rollout.controller import Controller
from ciflow.rollout.gates import Gate, gates_from
from ciflow.rollout.metrics.answers import credentials
from ciflow.rollout.routers import Router, RouterError, build, slots_of, uncounted
from ciflow.rollout.spec import Ended, Spec

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun


async def roll_out(work: StageRun, people: People, together: Together) -> Ended:
    """Run the canary of a stage to its end. Locked, Invalid and router errors come out as they are."""
    await check_required(work)
    controller = await work.settle("canary", partial(_controller, work))
    together.join(work.id, controller)
    commands = people.to(controller.spec.service)
    refused = _refused_before(work)
    try:
        ended = await _driver(work, commands, "rollout", together, refused).drive(controller.run())
    except StoreError as error:
        raise await _turned_back_unrecorded(work, commands, controller, error) from error
    except CiflowError as error:
        if not controller.claimed:
            why = error.message
            work.run.recorder.rendered(f"{work.id}|refused{refused}", lambda: why)
        raise
    if ended.result == "lost":
        raise RouterError(ended.reason, help=f"`ciflow rollback {controller.spec.service}` tries again")
    if ended.result == "fenced":
        raise Locked(ended.reason, help="a rollback or another release has taken over; this one has stopped")
    work.run.services[controller.spec.service] = {"version": controller.spec.version, "result": ended.result}
    return ended


def _refused_before(work: StageRun) -> int:
    """How often it ended before it had claimed its routers, in earlier processes of the run.

    What they had answered then is no answer any more: somebody has mended them, and they are asked under other keys.
    """
    return next(n for n in itertools.count() if work.run.recorder.known(f"{work.id}|refused{n}") is MISSING)


def _controller(work: StageRun) -> Controller:
    """The play's canary, rendered, with its routers; how they are reached is written down for a later rollback."""
    canary = work.play.canary
    assert canary is not None
    scope = work.scope_of(work.hosts[0])
    rendered = _Rendered(canary, lambda value: render(value, scope))
    gates = _gates(work, canary, rendered, scope)
    for secret in (text for gate in gates for text in credentials(gate.source)):
        work.run.mask.add(secret)
    gates = tuple(replace(gate, private=_secret(work, gate.source)) for gate in gates)
    hosts = _router_hosts(work, rendered.settings)
    edges = sorted({edge for gate in gates for edge in gate.edges})
    routers = build(
        rendered.kind, rendered.settings, rendered.service, rendered.slots, hosts, edges=edges, by=canary.by
    )
    _refuse_uncounted(canary, gates, routers)
    _refuse_secrets(work, canary, rendered)
    spec = _spec(work, canary, rendered, gates, tuple(edges))
    where = {router.host: work.connection_of(router.host) for router in routers}
    data = routers_data(spec.service, spec.router, spec.settings, spec.slots, edges, canary.by, where)
    work.run.recorder.emit("routers", data, play=work.id)
    return Controller(spec, routers)


def _refuse_uncounted(canary: Canary, gates: tuple[Gate, ...], routers: Sequence[Router]) -> None:
    """A gate that judges by what the router counts needs one that counts."""
    blind = [gate.name for gate in gates if gate.kind != "query" and not gate.of]
    if message := uncounted(blind, routers):
        raise Invalid([Diagnostic("error", "CF0311", message, canary.span)])


def _refuse_secrets(work: StageRun, canary: Canary, rendered: _Rendered) -> None:
    """A router's settings are kept for a rollback, in the journal and beside the router: a secret among them would
    come back as stars from the one, and lie open in the other."""
    for name, value in rendered.settings.items():
        if _secret(work, value):
            message = (
                f"`{name}` of router {rendered.kind} holds a secret, which a rollback would have to know: "
                "keep it in a file on the router's host, and let the setting name that file"
            )
            raise Invalid([Diagnostic("error", "CF0311", message, canary.span)])


def _secret(work: StageRun, value: Any) -> bool:
    """Whether there is one in a value."""
    text = json.dumps(value, default=str)
    return bool(work.run.mask.text(text) != text)


def _gates(work: StageRun, canary: Canary, rendered: _Rendered, scope: Scope) -> tuple[Gate, ...]:
    services = len(cells_of(work.run.plan, work.stage))
    by_user = bool(canary.by) and rendered.kind in COUNT_USERS
    config = [_with_sources(kind, options, rendered, scope) for gate in canary.gates for kind, options in gate.items()]
    try:
        return gates_from(config, canary.alpha, services=services, by_user=by_user)
    except ValueError as error:
        raise Invalid([Diagnostic("error", "CF0311", str(error), canary.span)]) from error


def _spec(
    work: StageRun, canary: Canary, rendered: _Rendered, gates: tuple[Gate, ...], edges: tuple[float, ...]
) -> Spec:
    run, straight = work.run, bool(work.run.options.again)  # observed good before: no gate is to hold it up
    return Spec(
        service=rendered.service,
        version=rendered.version,
        release=f"{run.id}/{work.id}",
        who=run.options.who,
        router=rendered.kind,
        settings=rendered.settings,
        slots=slots_of(rendered.slots),
        slot_vars=rendered.slots,
        steps=() if straight else canary.steps,
        deploy=work.play.tasks,
        verify=canary.verify,
        retire=canary.retire,
        irreversible=irreversible(run.plan, work.stage),
        together=len(cells_of(run.plan, work.stage)) > 1,
        gates=() if straight else gates,
        edges=edges,
        by=canary.by,
        token=_token(work, rendered.service),
        now=run.recorder.rendered(f"{work.id}|now", time.time),
        interval=canary.interval,
        deadline=canary.deadline,
        dead_man=canary.dead_man,
        warm_up=canary.warm_up,
        bake=0.0 if straight else canary.bake,
        keep_warm=canary.keep_warm,
        drain=canary.drain,
        sick_for=canary.sick_for,
        early=canary.early,
        on_failure=canary.on_failure,
        on_inconclusive=canary.on_inconclusive,
        replace_warm=run.options.replace_warm,
        check=run.options.check,
        again=straight,
    )


def _token(work: StageRun, service: str) -> int:
    """Each process that works on the release holds the service's lock; its token is that of the first of them."""
    if work.run.options.check:
        return 0
    token = work.run.claim(f"service:{service}")
    return int(work.run.recorder.rendered(f"{work.id}|token", lambda: token))


async def _turned_back_unrecorded(
    work: StageRun, commands: Commands, controller: Controller, error: StoreError
) -> StoreError:
    """The journal can't be written: turning back matters more than writing about it, and nothing follows it."""
    if controller.state in ("deploying", "verifying"):
        return error
    run = work.run
    run.recorder.without_journal()
    run.wire.failure = None
    ended = await _driver(work, commands, "turn-back", Together(())).drive(controller.turn_back(error.message))
    run.recorder.commit()
    run.wire.failure = error
    said = "all traffic is back" if ended.result == "rolled_back" else ended.reason
    return StoreError(f"{error.message}; {controller.spec.service}: {said}, not recorded", help=error.help)


class _Rendered:
    """The canary's own templates, rendered with the first host's variables."""

    def __init__(self, canary: Canary, render_one: Any) -> None:
        self.service = str(render_one(canary.service))
        self.version = str(render_one(canary.version))
        kind, settings = canary.router
        self.kind = kind
        self.settings: Mapping[str, Any] = dict(render_one(dict(settings)))
        self.slots: Mapping[str, Mapping[str, Any]] = {k: dict(render_one(dict(v))) for k, v in canary.slots.items()}

    def seen_from(self, slot: str, other: str) -> dict[str, Any]:
        """What a query sees of the release when `slot` is the candidate's."""
        return {
            "slot": {**self.slots.get(slot, {}), "name": slot},
            "stable": {**self.slots.get(other, {}), "name": other},
            "release": {"service": self.service, "version": self.version},
        }


def _with_sources(
    kind: str, options: Mapping[str, Any], rendered: _Rendered, scope: Scope
) -> Mapping[str, Mapping[str, Any]]:
    """A gate whose questions to providers are rendered for either slot as the candidate's."""
    asked = {name: value for name, value in options.items() if name in ASKED}
    if not asked:
        return {kind: options}
    rest = {name: value for name, value in options.items() if name not in ASKED}
    sources = {
        slot: render(asked, scope.child(rendered.seen_from(slot, other))) for slot, other in (("a", "b"), ("b", "a"))
    }
    return {kind: {**rest, "source": sources}}


def _router_hosts(work: StageRun, settings: Mapping[str, Any]) -> list[str]:
    """The hosts that the router runs on: a pattern of the router's own, or the play's."""
    pattern = settings.get("hosts")
    if pattern is None:
        return [host.name for host in work.hosts]
    return [host.name for host in work.run.inventory.select(str(pattern))]


def _driver(work: StageRun, commands: Commands, part: str, together: Together, refused: int = 0) -> Driver:
    async def hold(step: Hold, _key: Key) -> Reply:
        if step.why != "paused":
            return await commands.hold(step.seconds, partial(together.news, work.id, step.meet))
        if not commands.take_resumed():
            together.leave(work.id, step.prompt)
            work.run.wire.warn(f"paused: {step.prompt}; `ciflow resume {work.run.id}` goes on")
            raise PausedRun
        return Reply(data={"resumed": True}, started=time.time())

    async def run(step: Run, _key: Key) -> Reply:
        listening = asyncio.get_running_loop().create_task(_stop_when_aborted(work, commands))
        try:
            reply = await run_on_hosts(work, step)
            return replace(reply, data={"aborted": listening.done() and listening.exception() is None})
        finally:
            listening.cancel()

    places = Places(work)
    return Driver(
        wire=work.run.wire,
        key=Key(work.run.id, work.id, "", (part, *((f"again{refused}",) if refused else ()))),
        connection=work.run.controller,
        lane=f"{work.id}|{part}",
        controller=work.run.controller,
        place_of=places.of,
        render=refuse_render,
        hold=hold,
        reached=nothing_before,
        run=run,
        compile=partial(compiled, work, places),
    )


async def _stop_when_aborted(work: StageRun, commands: Commands) -> None:
    """The task in hand ends; no host starts another one."""
    by = await commands.aborted()
    work.aborted = work.aborted or f"aborted by {by}"


async def run_on_hosts(work: StageRun, step: Run) -> Reply:
    """One task list of the rollout on all hosts of the play, with the slot's and the release's variables."""
    work.extra = {**work.extra, **step.vars}
    for lane in work.lanes.values():
        lane.extra.update(step.vars)
    await work.run_nodes(step.nodes, work.hosts)
    failed = work.failed
    if not failed and not work.aborted:
        return Reply()
    first = failed[0].last_failure if failed else None
    why = f"{failed[0].host.name}: {first}" if failed and first is not None else work.aborted
    return Reply(ok=False, error=why)
