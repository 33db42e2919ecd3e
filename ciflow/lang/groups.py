"""Groups and hosts while an inventory is read: who is whose child, and in which order variables win."""

from __future__ import annotations

from collections import Counter

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


def _built_in() -> dict[str, Group]:
    return {"all": Group("all", children={"ungrouped": None}), "ungrouped": Group("ungrouped")}


@dataclass(slots=True)
class Groups:
    """All groups by name, all hosts (with their own layers) in the order they were first named."""

    by_name: dict[str, Group] = field(default_factory=_built_in)
    hosts: dict[str, list[Layer]] = field(default_factory=dict)
    _parents: dict[str, set[str]] = field(default_factory=dict)
    _depths: dict[str, int] = field(default_factory=dict)
    _above: dict[str, list[str]] = field(default_factory=dict)
    _orders: dict[frozenset[str], tuple[str, ...]] = field(default_factory=dict)

    def group(self, name: str) -> Group:
        return self.by_name.setdefault(name, Group(name))

    def add_host(self, name: str, group: str) -> None:
        self.hosts.setdefault(name, [])
        self.group(group).hosts[name] = None

    def add_child(self, parent: str, child: str) -> None:
        self.group(child)
        self.group(parent).children[child] = None

    def reconcile(self) -> None:
        """After reading, as Ansible does: whoever is in no group is in `ungrouped`, and nobody else is; groups that
        no other has are children of `all`."""
        ungrouped = self.by_name["ungrouped"]
        named = {
            host for group in self.by_name.values() if group.name not in ("all", "ungrouped") for host in group.hosts
        }
        ungrouped.hosts = {host: None for host in self.hosts if host not in named}
        below = {child for group in self.by_name.values() for child in group.children}
        for name in self.by_name:
            if name != "all" and name not in below:
                self.add_child("all", name)

    def hosts_of(self, name: str) -> tuple[str, ...]:
        """A group's hosts in Ansible's order: those it names itself, then those of its children, level by level."""
        level, seen, found = [name], {name}, dict[str, None]()
        while level:
            for group in level:
                found |= self.by_name[group].hosts
            below = dict.fromkeys(child for group in level for child in self.by_name[group].children)
            level = [child for child in below if child not in seen]
            seen.update(level)
        return tuple(found)

    def forget(self) -> None:
        """What `order_of` has worked out: hosts and groups have come since."""
        for known in (self._parents, self._above, self._orders, self._depths):
            known.clear()

    def order_of(self, host: str) -> tuple[str, ...]:
        """Every group that a host is in, from `all` downwards: by depth, then priority, then name; a later one's
        variables win. Worked out once, after reading, for all hosts that are named by the same groups."""
        if not self._parents:
            self._look_up()
        own = frozenset(self._parents.get(host, ()))
        if own not in self._orders:
            found = self._ancestors(own)
            key = lambda name: (self.depth(name), self.by_name[name].priority, name)  # noqa: E731
            self._orders[own] = tuple(sorted(found, key=key))
        return self._orders[own]

    def _look_up(self) -> None:
        for group in self.by_name.values():
            for host in group.hosts:
                self._parents.setdefault(host, set()).add(group.name)
            for child in group.children:
                self._above.setdefault(child, []).append(group.name)

    def _ancestors(self, own: frozenset[str]) -> set[str]:
        found = {"all"}
        waiting = list(own)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._above.get(name, ()))
        return found

    def depth(self, name: str) -> int:
        """How far below `all` a group lies, by its longest way."""
        if not self._depths:
            self._measure()
        return self._depths[name]

    def _measure(self) -> None:
        """The longest ways, in an order in which parents come before their children (Kahn, 1962)."""
        self._depths |= {name: 0 if name == "all" else 1 for name in self.by_name}
        parents = Counter(child for group in self.by_name.values() for child in group.children)
        ready = [name for name in self.by_name if not parents[name]]
        for name in ready:
            for child in self.by_name[name].children:
                self._depths[child] = max(self._depths[child], self._depths[name] + 1)
                parents[child] -= 1
                if not parents[child]:
                    ready.append(child)

    def cycle(self) -> list[str] | None:
        """A chain of groups that contain themselves, if there is one."""
        done: set[str] = set()
        for start in self.by_name:
            chain = {} if start in done else {start: iter(self.by_name[start].children)}
            while chain:
                name = next(reversed(chain))
                child = next(chain[name], None)
                if child is None:
                    done.add(name)
                    del chain[name]
                elif child in chain:
                    names = list(chain)
                    return [*names[names.index(child) :], child]
                elif child not in done:
                    chain[child] = iter(self.by_name[child].children)
        return None
