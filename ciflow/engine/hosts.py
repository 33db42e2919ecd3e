"""The hosts of one run: those of its inventory, and those that its tasks add to it (`add_host`, `group_by`).

Nothing of it is kept: a resumed run walks the same way and adds the same hosts. Only what `meta: refresh_inventory`
read is recorded, for the disk may hold something else by then.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ciflow.engine.record import Recorder
from ciflow.lang.at_once import at_once
from ciflow.lang.files import Files
from ciflow.lang.inventory import Added, Inventory, load_inventory
from ciflow.lang.scope import MISSING, Layer, Level, Scope
from ciflow.lang.template import render
from ciflow.model import Host, Outcome, Play, Playbook


def hosts_of(
    inventory: Inventory, playbook: Playbook, extra: Mapping[str, Any], play: Play, cell: Mapping[str, Any], limit: str,
    files: Files,
) -> tuple[Host, ...]:  # fmt: skip
    """The hosts of a play, or of a cell of its matrix. Raises Invalid."""
    above = (Layer(Level.EXTRA_VARS, extra), Layer(Level.VARS_PROMPT, play.answers))
    layers = (Layer(Level.PLAY_VARS, {**play.vars, "matrix": cell}), Layer(Level.PLAY_VARS, playbook.vars))
    pattern = at_once(play.hosts, Scope((*above, *layers), render), files)
    text = ":".join(map(str, pattern)) if isinstance(pattern, list | tuple) else str(pattern)
    return inventory.select(text, limit) if text else ()


class HostVars(dict[str, Any]):
    """`hostvars`: the hosts of the inventory, and for who names it the implicit localhost, which is in no list. Each
    host's variables are made when it is named: a template on each of thousands of hosts may ask for those of one."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Any]) -> None:
        super().__init__(dict.fromkeys(names))
        self._make = make

    def __getitem__(self, name: str) -> Any:
        found = super().get(name)
        if found is None:
            found = self._make(name)
            if found is None:
                raise KeyError(name)
            if super().__contains__(name):
                self[name] = found
        return found

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self._make(name) is not None)

    def __iter__(self) -> Iterator[str]:
        """As a dict's; that it stands here keeps `dict(hostvars)` from copying what is not made yet."""
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def items(self) -> Any:
        return {name: self[name] for name in self}.items()

    def values(self) -> Any:
        return {name: self[name] for name in self}.values()


class Hosts:
    """The inventory as it stands. It is read anew at the first question after something was added."""

    def __init__(self, inventory: Inventory, sources: tuple[str, ...], folder: str, files: Files) -> None:
        self._known = inventory
        self._sources = sources
        self._folder = folder
        self._files = files
        self._added: dict[tuple[str, tuple[str, ...]], Added] = {}
        self._stale = False
        self._refreshed: set[str] = set()
        self.grown = False  # whether plays that come now may have other hosts than the plan says

    @property
    def sources(self) -> tuple[str, ...]:
        """What was named by `-i`: files by their whole path, lists of names as they are."""
        return tuple(one if "," in one else str(Path(one).absolute()) for one in self._sources)

    @property
    def inventory(self) -> Inventory:
        if self._stale:
            added = tuple(self._added.values())
            self._known = load_inventory(self._sources, self._files, playbook_dir=self._folder, added=added)
            self._stale = False
        return self._known

    def take(self, module: str, host: str, outcome: Outcome) -> Outcome:
        """Take in what `add_host` or `group_by` came to on `host`: adding what is there already is no change."""
        if outcome.failed or outcome.skipped:
            return outcome
        if module == "add_host":
            new = outcome.data["add_host"]
            return replace(outcome, changed=self._add(Added(new["host_name"], tuple(new["groups"]), new["host_vars"])))
        parents = tuple(outcome.data["parent_groups"])
        self._add(Added(host, (outcome.data["add_group"],), {}, parents, grouped=True))
        return outcome

    def refresh(self, recorder: Recorder, key: str) -> None:
        """Read the sources again, once for each `meta: refresh_inventory`, however many hosts come by."""
        if key in self._refreshed:
            return
        self._refreshed.add(key)
        recorded = recorder.known(key)
        if recorded is MISSING:
            self._files = Files.live()
            self._stale = self.grown = True
            self.inventory  # noqa: B018  # reads the files, whose content is recorded next
            read = {path: base64.b64encode(data).decode("ascii") for path, data in self._files.snapshot().items()}
            recorder.rendered(key, lambda: read, secret=True)
        else:
            self._files = Files.frozen({path: base64.b64decode(data) for path, data in recorded.items()}).thawed()
            self._stale = self.grown = True

    def _add(self, added: Added) -> bool:
        """Whether anything is new about it."""
        known = self.inventory.host(added.host)
        if known is not None and known in self.inventory.hosts:
            same = all(known.vars.get(name, MISSING) == value for name, value in added.variables.items())
            if same and not added.parents and set(added.groups) <= set(known.groups):
                return False
        at = (added.host, (*added.groups, *added.parents))
        before = self._added.pop(at, None)
        merged = {**before.variables, **added.variables} if before is not None else added.variables
        self._added[at] = replace(added, variables=merged)
        self._stale = self.grown = True
        return True
