"""W11-distributed: the workspace of W11 built by others: crate by crate (sccache-dist), and as one command (casd).

Scheduler, builder and farm run on this machine, on the same cores: what is shown is that others do the work and what
the way to them costs, not how much faster it gets. CPU is that of all of them together.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import contenders
from benchmarks.measure import Failed
from benchmarks.rust import BUILD, Bench, Figure, bench, play
from benchmarks.rust_workspace import CRATES
from tests.parts import sccache_dist
from tests.parts.casd import casd
from tests.parts.process import MissingPart, descendants

TICKS = os.sysconf("SC_CLK_TCK")
MACHINE = "ansible_connection=local ansible_python_interpreter=/usr/bin/python3"


def distributed() -> Iterator[Figure]:
    """Beside plain cargo in the same minutes. What is missing is left out."""
    with bench() as made:
        made.anew()
        yield made.cargo("W11-distributed", *BUILD)
        with contextlib.suppress(MissingPart):
            yield from _crates(made)
        with contextlib.suppress(MissingPart):
            yield from _command(made)


def _crates(made: Bench) -> Iterator[Figure]:
    """Out of an empty store: the first time the builder is sent the compiler, the second time it has it."""
    farm = sccache_dist.Farm.planned(made.home, builders=1)
    hosts, playbook = made.home / "hosts", made.home / "farm.yml"
    hosts.write_text(farm.inventory([f"scheduler {MACHINE}", f"builder {MACHINE}"]))
    playbook.write_text(sccache_dist.PLAYBOOK)
    try:
        _done(made, "apply", str(playbook), "-i", str(hosts), "-e", json.dumps(farm.variables))
        for work in ("W11-distributed-first", "W11-distributed"):
            made.anew()
            subprocess.run(["rm", "-rf", made.env["SCCACHE_DIR"]], check=True)
            before = _cpu_s(farm.programs())
            argv = ("apply", "--json", play(made, "local"))
            figure = made.ciflow(work, "ciflow-sccache-dist", *argv, SCCACHE_CONF=str(farm.config))
            cost = replace(figure.cost, cpu_s=figure.cost.cpu_s + _cpu_s(farm.programs()) - before)
            yield replace(figure, cost=cost, elsewhere=_elsewhere(made))
    finally:
        farm.end()


def _elsewhere(made: Bench) -> float:
    """The share of what was compiled that others compiled, by the event `cache`; they count refused probes as well."""
    told = next(data for kind, data in _events(made) if kind == "cache")
    return min(1.0, float(told.get("distributed", 0)) / (int(told["misses"]) or 1))


def _command(made: Bench) -> Iterator[Figure]:
    """The whole build as one action, whose workers have this machine's tools; then the same again, which is known."""
    home = Path.home()
    places = [
        os.environ.get("CARGO_HOME") or str(home / ".cargo"),
        os.environ.get("RUSTUP_HOME") or str(home / ".rustup"),
    ]
    image = [one for one in ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", *places) if Path(one).exists()]
    path = made.home / "remote.yml"
    env = {"PATH": f"{places[0]}/bin:/usr/bin:/bin", "CARGO_HOME": places[0], "RUSTUP_HOME": places[1], "HOME": "/tmp"}
    folder = made.home / "casd"
    folder.mkdir()
    with casd(folder, image) as farm:
        asked: dict[str, Any] = {
            "endpoint": farm.endpoint,
            "chdir": str(made.root),
            "argv": ["cargo", *BUILD],
            "env": env,
            "inputs": ["Cargo.toml", "Cargo.lock", *(f"part{number}" for number in range(CRATES))],
            "outputs": [f"target/debug/libpart{number}.rlib" for number in range(CRATES)],
            "fallback": False,
        }
        task = {"name": "Build", "remote_exec": asked}
        path.write_text(json.dumps([{"name": "Build", "hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
        for work in ("W11-remote", "W11-remote-again"):
            made.anew()
            pids = [farm.running.pid, *descendants(farm.running.pid)]
            before = _cpu_s(pids)
            figure = made.ciflow(work, "ciflow-casd", "apply", "--json", str(path))
            told = next(data["outcome"] for kind, data in _events(made) if kind == "task_ended")
            if told.get("where") != "farm" or not (made.root / asked["outputs"][-1]).exists():
                raise Failed(f"it was not the farm that built: {told}")
            cost = replace(figure.cost, cpu_s=figure.cost.cpu_s + _cpu_s(pids) - before)
            yield replace(figure, cost=cost, hits=float(told["cached"]), elsewhere=1.0)


def _done(made: Bench, *words: str) -> None:
    """Raises Failed."""
    argv = [*contenders.ciflow(*words).argv, "--state", str(made.home / "state")]
    done = subprocess.run(argv, env={**os.environ, **made.env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stdout[-2000:] + done.stderr[-2000:])


def _events(made: Bench) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in (made.home / "output.log").read_text(errors="replace").splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            yield str(event.get("kind")), event.get("data") or {}


def _cpu_s(pids: Iterable[int]) -> float:
    """Seconds that processes took, with all children that they have waited for (proc(5): utime to cstime)."""
    used = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15]))
    return used / TICKS
