"""`vars_files` of a play: which ones each host has, whose names may hold templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ciflow.engine.rendering import Rendering
from ciflow.lang.include import load_vars_files
from ciflow.model import Host, Task, Template

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun

Read = tuple[Mapping[str, Any], ...]


class VarsFiles:
    """Those of one stage."""

    def __init__(self, stage: StageRun) -> None:
        self._stage = stage
        self._of: dict[str, Read] = {}  # by host: each may choose others

    async def read(self, hosts: tuple[Host, ...]) -> None:
        """Their names are known only now."""
        files = self._stage.play.vars_files
        if not files:
            return
        first = self._of[hosts[0].name] = await self._read(hosts[0])
        chosen = any(isinstance(one, Template) for name in files for one in _each(name))
        for host in hosts[1:]:
            self._of[host.name] = await self._read(host) if chosen else first

    def of(self, host: Host) -> Read:
        """As this host chose them; another one's, seen from here, are those of the first."""
        return self._of.get(host.name) or next(iter(self._of.values()), ())

    async def _read(self, host: Host) -> Read:
        stage, lane = self._stage, self._stage.own_lane(host)
        task = Task("Read vars_files", "include_vars", {}, stage.play.span, ("vars_files",))
        rendering = Rendering(lane, task, replace(lane.key, path=task.path))
        names, folder = stage.play.vars_files, str(Path(stage.run.plan.path).parent)
        return await rendering.settle(lambda: load_vars_files(names, rendering.scope(), stage.run.files, folder))


def _each(name: Any) -> Any:
    """A name of `vars_files`, or those of which the first that exists is taken."""
    return name if isinstance(name, list | tuple) else (name,)
