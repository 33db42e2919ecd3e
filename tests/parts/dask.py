"""A Dask cluster that is somebody else's: a scheduler and workers that speak TLS, each a process of its own."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.parts import process
from tests.parts.pki import Authority


@dataclass(frozen=True)
class Dask:
    """`env` has Dask's own settings for a client: its certificate, and whom it trusts."""

    address: str
    env: Mapping[str, str]
    workers: list[process.Running]


@contextlib.contextmanager
def dask(folder: Path, env: Mapping[str, str], workers: int = 2) -> Iterator[Dask]:
    """`env` is the workers'."""
    port = process.free_port()
    authority = Authority(folder / "pki")
    authority.leaf("peer", "peer", alternatives=("127.0.0.1", "localhost"))
    pair = {"CA_FILE": authority.ca, "SCHEDULER__CERT": "peer.crt", "SCHEDULER__KEY": "peer.key",
            "WORKER__CERT": "peer.crt", "WORKER__KEY": "peer.key", "CLIENT__CERT": "peer.crt",
            "CLIENT__KEY": "peer.key"}  # fmt: skip
    tls = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(folder / "pki" / path) for name, path in pair.items()}
    tls |= {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    settings = {**env, **tls}
    address = f"tls://127.0.0.1:{port}"
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    argv = [*program, "--host", address, "--no-dashboard", "--no-show"]
    with contextlib.ExitStack() as stack:
        ready = lambda: process.answers("127.0.0.1", port)  # noqa: E731
        stack.enter_context(process.run("scheduler", argv, folder, ready, 60.0, settings))
        running = []
        for number in range(workers):
            program = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny"]
            options = ["--nthreads", "1", "--memory-limit", "0", "--local-directory", str(folder / f"w{number}")]
            name = f"worker{number}"
            argv = [*program, *options, "--name", name, "--protocol", "tls"]
            joined = lambda: "Registered to" in (folder / f"{name}.log").read_text()  # noqa: B023, E731
            running.append(stack.enter_context(process.run(name, argv, folder, joined, 60.0, settings)))
        yield Dask(address, tls, running)
