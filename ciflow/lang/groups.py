"""Groups and hosts while an inventory is read: who is whose child, and in which order variables win."""

from __future__ import annotations

from ciflow.dataclass import dataclass, field
from ciflow.lang.scope import Layer


@dataclass(slots=True)
class Group:
    """One group: its own hosts and child groups in the order written, and its layers of variables."""

    name: str
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    priority: int = 1


@dataclass(slots=True)
class Groups:
    """All groups by name, all hosts (with their own layers) in the order they were first named."""

    by_name: dict[str, Group] = field(default_factory=lambda: {"all": Group("all")})
    hosts: dict[str, list[Layer]] = field(default_factory=dict)
    _parents: dict[str, set[str]] = field(default_factory=dict)
    _depths: dict[str, int] = field(default_factory=dict)

    def group(self, name: str) -> Group:
        return self.by_name.setdefault(name, Group(name))

    def add_host(self, name: str, group: str) -> None:
        self.hosts.setdefault(name, [])
        self.group(group).hosts[name] = None

    def add_child(self, parent: str, child: str) -> None:
        self.group(child)
        self.group(parent).children[child] = None

    def parents_of_host(self) -> dict[str, set[str]]:
        """Groups that name each host themselves. Worked out once, after reading."""
        if not self._parents:
            for group in self.by_name.values():
                for host in group.hosts:
                    self._parents.setdefault(host, set()).add(group.name)
        return self._parents

    def depth(self, name: str) -> int:
        """How far below `all` a group lies, by its longest way."""
        if not self._depths:
            self._measure("all", 0)
            for other in self.by_name:
                if other not in self._depths:
                    self._measure(other, 1)
        return self._depths[name]

    def _measure(self, name: str, depth: int) -> None:
        if self._depths.get(name, -1) >= depth or depth > len(self.by_name):
            return
        self._depths[name] = depth
        for child in self.by_name[name].children:
            self._measure(child, depth + 1)

    def cycle(self) -> list[str] | None:
        """A chain of groups that contain themselves, if there is one."""
        done: set[str] = set()
        for start in self.by_name:
            if (found := self._cycle_from(start, [], done)) is not None:
                return found
        return None

    def _cycle_from(self, name: str, chain: list[str], done: set[str]) -> list[str] | None:
        if name in chain:
            return [*chain[chain.index(name) :], name]
        if name in done:
            return None
        for child in self.by_name[name].children:
            if (found := self._cycle_from(child, [*chain, name], done)) is not None:
                return found
        done.add(name)
        return None


def ancestors(host: str, groups: Groups) -> set[str]:
    """Every group that a host is in, directly or through children; `all` always."""
    found = {"all"}
    waiting = list(groups.parents_of_host().get(host, ()))
    above: dict[str, list[str]] = {}
    for group in groups.by_name.values():
        for child in group.children:
            above.setdefault(child, []).append(group.name)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(above.get(name, ()))
    return found


def depth_order(names: set[str], groups: Groups) -> list[str]:
    """Groups from `all` downwards: by depth, then priority, then name; a later one's variables win."""
    known = [name for name in names if name in groups.by_name]
    return sorted(known, key=lambda name: (groups.depth(name), groups.by_name[name].priority, name))
