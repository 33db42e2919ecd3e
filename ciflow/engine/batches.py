"""In which order a play takes its hosts, and how many of them at a time: Ansible's `order` and `serial`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ciflow.lang.scope import Scope
from ciflow.lang.template import keyword
from ciflow.model import Host, Play


def ordered(play: Play, hosts: tuple[Host, ...], seed: Callable[[], float]) -> tuple[Host, ...]:
    """The hosts in the play's `order`; `seed` is asked for a shuffle only."""
    order = play.order
    if order == "shuffle":
        return tuple(random.Random(seed()).sample(hosts, len(hosts)))
    by_name = sorted(hosts, key=lambda host: host.name) if order.endswith("sorted") else list(hosts)
    return tuple(reversed(by_name) if order.startswith("reverse") else by_name)


def batches(play: Play, hosts: tuple[Host, ...], scope_of: Callable[[Host], Scope]) -> list[tuple[Host, ...]]:
    """The hosts that go through the tasks together; the first host's variables say how many."""
    if not play.serial or not hosts:
        return [hosts]
    scope = scope_of(hosts[0])
    sizes = [_size(keyword(part, scope, 0), len(hosts)) for part in play.serial]
    found, at, turn = [], 0, 0
    while at < len(hosts):
        size = sizes[min(turn, len(sizes) - 1)]
        found.append(hosts[at : at + size])
        at, turn = at + size, turn + 1
    return found


def _size(part: Any, total: int) -> int:
    """A batch size: a number of hosts, or a percentage of them (at least one). 0 is all of them, as in Ansible."""
    text = str(part).strip()
    if text.endswith("%"):
        return max(1, int(total * float(text[:-1]) / 100))
    return int(text) if int(text) > 0 else total
