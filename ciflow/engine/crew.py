"""`--workers`: shards of a stage's hosts go to Dask, whose workers walk them (engine/worker.py).

Dask brings the processes, notices when one is lost, and gives its shard to another; what a shard has done is in the
journal, so walking it again repeats nothing. What the shards record is told here, in the order of the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ciflow.diagnostics import CiflowError, ExitCode, Refused
from ciflow.engine.context import HostValues
from ciflow.engine.hire import Job
from ciflow.engine.record import told
from ciflow.engine.saved import digests_of
from ciflow.engine.shard import ShardEnd
from ciflow.engine.sharing import shares
from ciflow.engine.worker import INTERRUPTED, Order, walk
from ciflow.model import Event, Host, Play
from ciflow.store.locks import this_machine
from ciflow.store.store import Store

if TYPE_CHECKING:
    from distributed import Client, Future

    from ciflow.engine.stage import StageRun

LOOK = 0.05  # seconds between looks at what the shards have recorded
PATIENCE = 4.0  # seconds that shards have to end when they are told to
JOINING = 10.0  # seconds until a scheduler answers and has a worker
LOCAL = re.compile(r"local:([1-9][0-9]{0,3})")
_OF_PEOPLE = frozenset({"command", "approval_given"})  # said to the run, not by it
_HERE = ("127.0.0.1", "localhost", "::1")
# Of a cluster of our own: no pages, and no profile. For that Dask looks at every thread of a worker a hundred times a
# second, and a worker has a thread for each connection.
_OF_OUR_OWN = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
}


class WorkFailed(CiflowError):
    """A shard ended with an error that is not one task's."""

    def __init__(self, message: str, help: str, exit_code: int) -> None:
        super().__init__(message, help=help)
        self.exit_code = ExitCode(exit_code)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Client]:
    """A Dask cluster: `local:N` makes one of N processes, which end with it. Raises Refused."""
    try:
        import dask
        from distributed import Client, LocalCluster, Security
    except ImportError as e:
        raise Refused("workers need Dask", help="pip install 'ciflow[workers]'") from e
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is told as events
    if (local := LOCAL.fullmatch(address)) is not None:
        with (
            dask.config.set(_OF_OUR_OWN),
            LocalCluster(
                n_workers=int(local[1]), threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
                memory_limit=0, silence_logs=logging.CRITICAL,
                # Keys of this cluster alone: whoever else has an account here must not give it work.
                security=Security.temporary(), protocol="tls://",
            ) as made,
            Client(made, set_as_default=False) as client,
        ):  # fmt: skip
            yield client
        return
    _refuse_open_wire(address)
    if address.startswith("tls") and Security().get_connection_args("client").get("ssl_context") is None:
        raise Refused(
            f"the scheduler {address} wants a certificate, and Dask knows none",
            help="name them: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ..__CLIENT__CERT and ..__CLIENT__KEY",
        )
    try:
        client = Client(address, set_as_default=False, timeout=JOINING)
    except (OSError, ValueError, RuntimeError) as e:
        raise Refused(f"no Dask scheduler answers at {address}: {e}", help="look at `--workers`") from e
    with client:
        yield client


def _refuse_open_wire(address: str) -> None:
    """Orders hold what the run knows, its secrets among it; and who can speak to a scheduler can run anything."""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls"):
        raise Refused(
            f"`--workers {address}` is neither `local:N` nor the address of a scheduler", help="tls://host:port"
        )
    if parts.scheme == "tcp" and parts.hostname not in _HERE:
        raise Refused(
            f"the scheduler {address} speaks plain TCP: whoever listens gets the run's secrets",
            help="start it with TLS and name it as tls://.. (docs/scale.md)",
        )


class Crew:
    """The workers of one run, for its engine. `tell` is how its sinks hear of events."""

    def __init__(self, client: Client, store: Store, job: Job, tell: Callable[[Event], None]) -> None:
        self._client = client
        self._store = store
        self._job = job
        self._tell = tell
        here = job.request.options.workers.startswith("local:")
        self._digests = {} if here else digests_of(job.loaded)
        self._heard = store.last
        self.leaving = False  # whether commands on hosts are to go on when this process ends
        self._own: set[int] = set()  # numbers of events that this process has recorded and told

    def recorded(self, last: int, count: int) -> None:
        """This process has recorded so many events, up to `last`."""
        self._own.update(range(last - count + 1, last + 1))

    def takes(self, play: Play, hosts: Sequence[Host]) -> bool:
        """Whether there is anything to share."""
        return shares(play, hosts)

    async def work(self, stage: StageRun, batch: Sequence[Host], number: int) -> None:
        """Walk the play's tasks on a batch of its hosts, in shards."""
        workers = sorted(self._client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise Refused("the Dask cluster has no worker", help="start some, or name another with `--workers`")
        forks = stage.run.options.forks
        shards = _split([host.name for host in batch], min(len(workers), forks or len(workers)))
        meeting = f"{stage.id}|{number}"
        board = self._store.board(self._job.run, meeting)
        board.open(len(shards))
        orders = [
            self._order(stage, batch, meeting, at, own, forks // len(shards) if forks else 0)
            for at, own in enumerate(shards)
        ]
        futures = [
            self._client.submit(_carry_out, order, pure=False, workers=[workers[at]], allow_other_workers=True)
            for at, order in enumerate(orders)
        ]
        why = "the run ends"
        try:
            ends = await self._ends(futures)
        except asyncio.CancelledError:
            why = why if self.leaving else INTERRUPTED
            raise
        finally:
            if not all(future.status == "finished" for future in futures):
                board.stop(why)
                await self._ended_soon(futures)
            self._hear()
            self._client.cancel(futures)
        stage.take_in(batch, ends)
        board.close()

    # --- private -----------------------------------------------------------------------------------------

    def _order(
        self, stage: StageRun, batch: Sequence[Host], meeting: str, number: int, own: Sequence[str], forks: int
    ) -> Order:
        job, run = self._job, stage.run
        plan = run.plan
        later = any(stage.stage.id in other.needs for other in plan.stages) or bool(stage.play.outputs)
        return Order(
            url=job.team.url, run=job.run, key=job.key, lease=job.lease(), request=job.request,
            passwords=job.passwords, snapshots=job.snapshots, stage=stage.stage.id,
            suffix=stage.id.removeprefix(stage.stage.id), meeting=meeting, number=number,
            hosts=tuple(host.name for host in stage.hosts), batch=tuple(host.name for host in batch), own=tuple(own),
            values={name: stage.values.get(name, HostValues()) for name in own},
            started=run.started, git=dict(run.git), services=dict(run.services), outputs=dict(run.outputs),
            artifacts={name: _digest(path) for name, path in run.artifacts.items()},
            announced=tuple(stage.announced), machine=this_machine(), digests=self._digests,
            provenance=dict(run.provenance), forks=forks,
            asked=later or len(batch) < len(stage.hosts), again=job.again,
        )  # fmt: skip

    async def _ends(self, futures: Sequence[Future]) -> list[ShardEnd]:
        """What the shards came to; meanwhile, what they record is told. The first error ends all."""
        while not all(future.done() for future in futures):
            await asyncio.sleep(LOOK)
            self._hear()
            if any(future.done() and _failure(future) for future in futures):
                break
        self._hear()
        failed = next((found for future in futures if future.done() and (found := _failure(future))), None)
        if failed is not None:
            raise failed
        return [future.result() for future in futures]

    async def _ended_soon(self, futures: Sequence[Future]) -> None:
        for _ in range(int(PATIENCE / LOOK)):
            if all(future.done() for future in futures):
                return
            await asyncio.sleep(LOOK)

    def _hear(self) -> None:
        """Tell what the shards have recorded since."""
        last = self._store.last
        if last <= self._heard:
            return
        for event in self._store.events(run=self._job.run, after=self._heard):
            if event.seq in self._own:
                self._own.discard(event.seq)
            elif told(event) and event.kind not in _OF_PEOPLE:
                self._tell(event)
            last = max(last, event.seq)
        self._heard = last


def _carry_out(order: Order) -> ShardEnd:
    """On a worker: it makes room at once for another, whose own worker may be lost while this one waits for it."""
    from distributed import secede

    secede()
    return walk(order)


def _failure(future: Future) -> CiflowError | None:
    if future.status == "finished":
        told = future.result().failure
        return WorkFailed(*told) if told else None
    error = future.exception() if future.status == "error" else "it was cancelled"
    return WorkFailed(
        f"a shard of hosts could not be walked to its end: {error}",
        "`ciflow resume` goes on where it stopped",
        int(ExitCode.INTERNAL),
    )


def _split(names: Sequence[str], parts: int) -> list[Sequence[str]]:
    """Parts of almost equal length, in order: the first hosts are the first part's."""
    cuts = [round(len(names) * part / parts) for part in range(parts + 1)]
    return [names[begin:end] for begin, end in pairwise(cuts)]


def _digest(path: str) -> str:
    """Of a blob, by where it lies (store/blobs.py)."""
    folder, _, name = path.rpartition("/")
    return folder.rpartition("/")[2] + name
