"""A canary play: the controller's generator on one side, sessions and the stage's tasks on the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.engine.drive import Driver, refuse_render
from ciflow.engine.keys import Key
from ciflow.engine.people import People
from ciflow.engine.result import PausedRun
from ciflow.engine.rollback import routers_data
from ciflow.lang.template import render
from ciflow.model import Canary, Hold, Reply, Run
from ciflow.rollout.controller import Controller
from ciflow.rollout.gates import gates_from
from ciflow.rollout.routers import build, slots_of
from ciflow.rollout.spec import Ended, Spec

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun


async def roll_out(work: StageRun, people: People) -> Ended:
    """Run the canary of a stage to its end. Locked, Invalid and router errors come out as they are."""
    canary = work.play.canary
    assert canary is not None
    scope = work.scope_of(work.hosts[0])
    rendered = _Rendered(canary, lambda value: render(value, scope))
    try:
        gates = gates_from(canary.gates, canary.alpha, independent=bool(canary.by))
    except ValueError as error:
        raise Invalid([Diagnostic("error", "CF0311", str(error), canary.span)]) from error
    hosts = _router_hosts(work, rendered.settings)
    edges = sorted({edge for gate in gates for edge in gate.edges})
    routers = build(
        rendered.kind, rendered.settings, rendered.service, rendered.slots, hosts, edges=edges, by=canary.by
    )
    run = work.run
    spec = Spec(
        service=rendered.service,
        version=rendered.version,
        release=f"{run.id}/{work.id}",
        who=run.options.who,
        router=rendered.kind,
        settings=rendered.settings,
        slots=slots_of(rendered.slots),
        slot_vars=rendered.slots,
        steps=canary.steps,
        deploy=work.play.tasks,
        verify=canary.verify,
        gates=gates,
        edges=tuple(edges),
        by=canary.by,
        token=run.recorder.rendered(f"{work.id}|token", lambda: run.claim(f"service:{rendered.service}")),
        now=run.recorder.rendered(f"{work.id}|now", time.time),
        interval=canary.interval,
        deadline=canary.deadline,
        dead_man=canary.dead_man,
        warm_up=canary.warm_up,
        bake=canary.bake,
        keep_warm=canary.keep_warm,
        on_failure=canary.on_failure,
        on_inconclusive=canary.on_inconclusive,
        replace_warm=run.options.replace_warm,
        check=run.options.check,
    )
    where = {router.host: work.connection_of(router.host) for router in routers}
    data = routers_data(spec.service, spec.router, spec.settings, rendered.slots, edges, canary.by, where)
    run.recorder.emit("routers", data, play=work.id)
    ended = await _driver(work, people).drive(Controller(spec, routers).run())
    run.services[spec.service] = {"version": spec.version, "result": ended.result}
    return ended


class _Rendered:
    """The canary's own templates, rendered with the first host's variables."""

    def __init__(self, canary: Canary, render_one: Any) -> None:
        self.service = str(render_one(canary.service))
        self.version = str(render_one(canary.version))
        kind, settings = canary.router
        self.kind = kind
        self.settings: Mapping[str, Any] = dict(render_one(dict(settings)))
        self.slots: Mapping[str, Mapping[str, Any]] = {k: dict(render_one(dict(v))) for k, v in canary.slots.items()}


def _router_hosts(work: StageRun, settings: Mapping[str, Any]) -> list[str]:
    """The hosts that the router runs on: a pattern of the router's own, or the play's."""
    pattern = settings.get("hosts")
    if pattern is None:
        return [host.name for host in work.hosts]
    return [host.name for host in work.run.inventory.select(str(pattern))]


def _driver(work: StageRun, people: People) -> Driver:
    key = Key(work.run.id, work.id, "", ("rollout",))

    async def hold(step: Hold, _key: Key) -> Reply:
        if step.why == "paused" and not people.take_resumed():
            raise PausedRun
        if step.why == "paused":
            return Reply(data={"resumed": True}, started=time.time())
        return await people.hold(step.seconds)

    async def run(step: Run, _key: Key) -> Reply:
        return await run_on_hosts(work, step)

    return Driver(
        wire=work.run.wire,
        key=key,
        connection=work.run.controller,
        lane=f"{work.id}|rollout",
        controller=work.run.controller,
        place_of=work.connection_of,
        render=refuse_render,
        hold=hold,
        run=run,
    )


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
