"""The least that a playbook may do in its cluster, its routers among it, as far as that is known before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ciflow.diagnostics import CiflowError
from ciflow.lang.load import Loaded
from ciflow.lang.scope import Need as Lookup
from ciflow.lang.template import render
from ciflow.lang.variables import layers_for
from ciflow.model import Task, Template
from ciflow.plan.compile import Plan, Stage
from ciflow.plan.rbac import Need, Needs, merged, needs_of
from ciflow.rollout.routers import CLUSTERED, build
from ciflow.rollout.routers.kube import KubeRouter
from ciflow.rollout.routers.kube_rights import needs_of_router


def rights_of(loaded: Loaded, plan: Plan, read: Callable[[str, Task], str | None]) -> Needs:
    """See `plan.rbac.needs_of`."""
    known = _Known(loaded)
    found = needs_of(plan, read, known.value)
    needs, unknown = [*found.needs], [*found.unknown]
    for stage in plan.stages:
        canary = stage.play.canary
        if canary is None or canary.router[0] not in CLUSTERED or not stage.hosts:
            continue
        try:
            needs += _of_router(stage, known)
        except (CiflowError, Lookup) as error:
            unknown.append(f"{canary.span}: {error}")
    return Needs(tuple(merged(needs)), tuple(dict.fromkeys(unknown)))


def _of_router(stage: Stage, known: _Known) -> Iterator[Need]:
    canary = stage.play.canary
    assert canary is not None
    kind, said = canary.router
    settings, slots = known.needed(stage, said), known.needed(stage, canary.slots)
    service = str(known.needed(stage, canary.service))
    for router in build(kind, settings, service, slots, ("localhost",)):
        assert isinstance(router, KubeRouter)
        yield from needs_of_router(router)


class _Known:
    """Values of a stage, rendered with what its files say."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def value(self, stage: Stage, value: Any) -> Any:
        """With each template rendered that can be now."""
        if isinstance(value, dict):
            return {key: self.value(stage, below) for key, below in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(stage, below) for below in value]
        if not isinstance(value, Template) or not stage.hosts:
            return value
        try:
            return self.needed(stage, value)
        except (CiflowError, Lookup):
            return value

    def needed(self, stage: Stage, value: Any) -> Any:
        """Raises CiflowError where it is known only when it runs."""
        host = stage.hosts[0]
        loaded = self._loaded
        names = {"matrix": lambda: stage.cell, "inventory_hostname": lambda: host.name}
        scope = layers_for(
            loaded.playbook, stage.play, host, inventory=loaded.inventory, extra=loaded.extra, magic=names
        )
        return render(value, scope)
