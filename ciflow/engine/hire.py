"""Whether a run has workers, without loading what they need: most runs have none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass, field
from ciflow.engine.request import Request
from ciflow.lang.load import Loaded
from ciflow.lang.vault import Password
from ciflow.model import Event
from ciflow.store.locks import Lease
from ciflow.store.place import Team
from ciflow.store.store import Store

if TYPE_CHECKING:
    from ciflow.engine.crew import Crew


@dataclass(frozen=True, slots=True)
class Job:
    """What all orders of a run have in common. `again`: the run has a past."""

    team: Team
    run: str
    key: bytes = field(repr=False)
    request: Request
    passwords: tuple[Password, ...] = field(repr=False)
    snapshots: tuple[str, ...]
    lease: Callable[[], Lease]
    loaded: Loaded
    again: bool


def workers(address: str) -> contextlib.AbstractContextManager[Any]:
    """A client of the cluster whose workers walk shards of hosts; None where the run has none."""
    if not address:
        return contextlib.nullcontext()
    from ciflow.engine.crew import cluster  # and Dask

    return cluster(address)


def hired(client: Any, store: Store, job: Callable[[], Job], tell: Callable[[Event], None]) -> Crew | None:
    """The cluster's workers at this run's service."""
    if client is None:
        return None
    from ciflow.engine.crew import Crew

    return Crew(client, store, job(), tell)
