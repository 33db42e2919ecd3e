"""W11: a Rust workspace built and tested cold, where the last build ended, out of caches, after one changed line.

The workspace is made here: 44 crates in layers, with derives, tests and real dependencies from the registry, which
cargo fetches before anything is timed. Each figure's contender is plain `cargo test` on the same workspace. A checkout
made anew is one without a target folder, all of whose files are new.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import contenders
from benchmarks.measure import Cost, Failed, measure
from benchmarks.rust_workspace import CRATES, write_workspace
from tests.parts.process import MissingPart, short_folder
from tests.parts.redis import redis
from tests.parts.s3 import BUCKET, KEYS, s3

MANY = 200  # crates, for what is asked of many
LEAF = f"part{CRATES - 1}"  # nothing needs it
BIN = Path(sys.executable).parent
PATIENCE_S = 20.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
FLOOR = "cargo-package"  # told which crate was changed
BUILD = ("build", "--workspace", "--locked", "--offline", "-q")
# What is aimed at: shares of the wall time that are saved, the share of hits, and seconds.
AIMS = {
    "W11-warm": ("W11-cold", 0.70),
    "W11-build": ("W11-build", 0.70),
    "W11-line": ("W11-line", 0.85),
    "W11-line-anew": ("W11-cold", 0.85),
}
AIM_HITS, AIM_OVERHEAD_S, AIM_AFFECTED_S = 0.90, 0.3, 0.5


@dataclass(frozen=True)
class Figure:
    """One measured step. `hits` is the share of cacheable compilations that came out of the cache, `elsewhere` that of
    what was compiled by others."""

    work: str
    who: str
    cost: Cost
    hits: float | None = None
    elsewhere: float | None = None


@dataclass(frozen=True)
class Bench:
    """The workspace, and the environment of whoever builds it."""

    root: Path
    home: Path
    env: Mapping[str, str]

    def anew(self) -> None:
        """The checkout as `git clone` leaves it."""
        shutil.rmtree(self.root / "target", ignore_errors=True)
        for folder, folders, files in os.walk(self.root):
            folders[:] = [one for one in folders if one != ".git"]
            for name in files:
                os.utime(Path(folder, name))

    def run(self, work: str, who: str, *argv: str, **env: str) -> Figure:
        """One program in the workspace's folder, with the CPU of all that it left to others."""
        before = _children()
        inside = ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(self.root), *argv)
        cost = measure(inside, {**self.env, **env}, self.home, timeout_s=3600.0)
        told = (self.home / "output.log").read_text(errors="replace")
        return Figure(work, who, replace(cost, cpu_s=cost.cpu_s + _cpu_of_orphans(before)), _hits(told))

    def cargo(self, work: str, *words: str) -> Figure:
        return self.run(work, "cargo", "cargo", *words)

    def ciflow(self, work: str, who: str, *words: str, **env: str) -> Figure:
        return self.run(work, who, *contenders.ciflow(*words, "--state", str(self.home / "state")).argv, **env)


def _adopt() -> None:
    """What programs started here leave behind becomes a child of this process (prctl(2)): agents, servers of caches."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _cpu_of_orphans(before: set[int]) -> float:
    """CPU seconds of adopted children, with all that they waited for, when they have ended."""
    used, until = 0.0, time.monotonic() + PATIENCE_S
    while (left := _children() - before) and time.monotonic() < until:
        for child in left:
            with contextlib.suppress(ChildProcessError):
                ended, _, usage = os.wait4(child, os.WNOHANG)
                used += usage.ru_utime + usage.ru_stime if ended else 0.0
        time.sleep(0.05)
    return used


def _children() -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():  # proc(5): ppid
                found.add(int(stat.parent.name))
    return found


def _hits(told: str) -> float | None:
    """Of the events `cache` that a run printed."""
    hits = misses = 0
    for line in told.splitlines():
        if line.startswith("{") and '"cache"' in line:
            event = json.loads(line)
            if event.get("kind") == "cache":
                hits, misses = hits + event["data"]["hits"], misses + event["data"]["misses"]
    return hits / (hits + misses) if hits + misses else None


@contextlib.contextmanager
def bench(crates: int = CRATES) -> Iterator[Bench]:
    """Made, in git, and with all that it needs fetched."""
    for program in ("sccache", "cargo-nextest"):
        if not (BIN / program).exists():
            raise MissingPart(f"{program} is not installed: make parts")
    _adopt()
    with short_folder("w11") as home:
        root = home / "workspace"
        write_workspace(root, crates)
        env = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "SCCACHE_DIR": str(home / "crates"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "CARGO_TERM_COLOR": "never",
        }
        for argv in (
            ("cargo", "generate-lockfile", "-q"),
            ("cargo", "fetch", "-q", "--locked"),
            ("git", "init", "-q", "-b", "main"),
            ("git", "add", "-A"),
            ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", "all"),
        ):
            subprocess.run(argv, cwd=root, env={**os.environ, **env}, check=True, capture_output=True)
        try:
            yield Bench(root, home, env)
        finally:
            for wrapper in (home / "cache" / "ciflow" / "rust").glob("rustc-*"):
                if os.access(wrapper, os.X_OK):
                    subprocess.run([wrapper, "--stop-server"], env={**os.environ, **env}, capture_output=True)


def builds() -> Iterator[Figure]:
    """Every figure. MissingPart where the tools are missing; a store that is missing is left out."""
    with bench() as made:
        made.anew()
        yield made.cargo("W11-cold", "test", "--workspace", "--locked", "--offline", "-q")
        yield from _changed_line(made)
        made.anew()
        yield made.cargo("W11-build", *BUILD)
        yield from _fresh(made)
        yield from _kept(made)
        yield from _dependencies(made)
        for kind in ("local", "redis", "s3"):
            with contextlib.suppress(MissingPart):
                yield from _cached(made, kind)
    yield from _many()


def _test(*more: str) -> tuple[str, ...]:
    return ("test", "--offline", "--json", *more)


def _cached(made: Bench, kind: str) -> Iterator[Figure]:
    """Into an empty store, and out of it again into an empty target folder."""
    who = f"ciflow-{kind}"
    shutil.rmtree(made.env["SCCACHE_DIR"], ignore_errors=True)
    with _store(kind, made.home) as env:
        for work in ("W11-cold", "W11-warm"):
            made.anew()
            if kind != "local":  # the nearer tier would answer, and the store never be asked
                shutil.rmtree(made.env["SCCACHE_DIR"], ignore_errors=True)
            yield made.ciflow(work, who, *_test("--cache", kind), **env)
        if kind == "local":
            made.anew()
            yield made.ciflow("W11-build", who, "apply", "--json", play(made, kind), **env)


@contextlib.contextmanager
def _store(kind: str, home: Path) -> Iterator[dict[str, str]]:
    folder = home / kind
    folder.mkdir(exist_ok=True)
    if kind == "redis":
        with redis(folder) as found:
            yield {"SCCACHE_REDIS_ENDPOINT": found.url}
    elif kind == "s3":
        with s3(folder) as endpoint:
            yield {"SCCACHE_BUCKET": BUCKET, "SCCACHE_ENDPOINT": endpoint, "SCCACHE_REGION": "us-east-1", **KEYS}
    else:
        yield {}


def _changed_line(made: Bench) -> Iterator[Figure]:
    """One line of a leaf crate, on top of what is built: all by cargo, what is touched by ciflow. The first time that a
    crate is built alone, cargo compiles dependencies anew whose features other crates had widened."""
    made.ciflow("", "", *_test())  # nextest's own tests are built as well, as on the day before
    ours = (*contenders.ciflow(*_test("--affected")).argv, "--state", str(made.home / "state"))
    plain = ("cargo", "test", "--workspace", "--locked", "--offline", "-q")
    alone = ("cargo", "test", "--package", LEAF, "--locked", "--offline", "-q")
    steps = (
        ("W11-line", "cargo", plain),
        ("W11-line-first", "ciflow", ours),
        ("W11-line", "ciflow", ours),
        ("", FLOOR, alone),  # it builds the harness that nextest runs once more, for itself
        ("W11-line", FLOOR, alone),
    )
    for number, (work, who, argv) in enumerate(steps):
        with _one_more_line(made, number):
            figure = made.run(work, who, *argv)
            yield from [figure] if work else []
    yield from _touched(made, "W11-affected")


@contextlib.contextmanager
def _one_more_line(made: Bench, number: int) -> Iterator[None]:
    """In the leaf crate, for as long as this lasts."""
    path = made.root / LEAF / "src" / "lib.rs"
    text = path.read_text()
    path.write_text(f"{text}pub fn more() -> u64 {{ {number} }}\n")
    yield
    path.write_text(text)


def _touched(made: Bench, work: str) -> Iterator[Figure]:
    """What a changed line touches, and what cargo alone takes to tell of the workspace. The first one warms up."""
    with _one_more_line(made, 0):
        for who in ("", "metadata", "ciflow"):
            if who == "ciflow":
                yield made.ciflow(work, who, "affected", "--offline")
            else:
                figure = made.run(work, who, "cargo", "metadata", "--locked", "--offline", "--format-version=1")
                yield from [figure] if who else []


def _many() -> Iterator[Figure]:
    with bench(MANY) as made:
        yield from _touched(made, f"W11-affected-{MANY}")


def _fresh(made: Bench) -> Iterator[Figure]:
    """A build that has nothing to do: what ciflow itself takes."""
    made.cargo("", *BUILD)
    yield made.cargo("W11-fresh", *BUILD)
    yield made.ciflow("W11-fresh", "ciflow", "apply", play(made, "none"))


def _kept(made: Bench) -> Iterator[Figure]:
    """In checkouts made anew: nothing kept yet, the same again, one line changed, and by two machines' worth of shards,
    one after the other here."""
    for work, *more in (
        ("W11-cold",),
        ("W11-warm",),
        ("W11-line-anew", "--affected"),
        ("W11-shard-1", "--shard", "1/2"),
        ("W11-shard-2", "--shard", "2/2"),
    ):
        made.anew()
        with _one_more_line(made, 2) if work == "W11-line-anew" else contextlib.nullcontext():
            yield made.ciflow(work, "ciflow-keep", *_test("--keep", *more))


def _dependencies(made: Bench) -> Iterator[Figure]:
    """The dependencies alone, built and packed; unpacked in a checkout made anew, all else built and tested there."""
    path = made.home / "dependencies.yml"
    variables = {
        "rust_ci_folder": str(made.root),
        "rust_ci_dependencies": str(made.home / "dependencies.tar.gz"),
        "rust_ci_offline": True,
        "rust_ci_cache": "none",
        "rust_ci_keep": False,
    }
    unpack = (
        f"    - file: {{path: {made.root}/target, state: directory}}\n"
        f"    - unarchive: {{src: {made.home}/dependencies.tar.gz, dest: {made.root}/target, remote_src: true}}\n"
    )
    for work, before, entry in (("W11-dependencies", "", "dependencies"), ("W11-warm", unpack, "test")):
        path.write_text(
            f"- name: Reuse\n  hosts: localhost\n  vars: {json.dumps(variables)}\n  tasks:\n{before}"
            f"    - import_role: {{name: rust_ci, tasks_from: {entry}}}\n"
        )
        made.anew()
        yield made.ciflow(work, "ciflow-dependencies", "apply", str(path))


def play(made: Bench, cache: str) -> str:
    """A playbook that builds the workspace."""
    path = made.home / f"build-{cache}.yml"
    words = f"workspace: true, locked: true, offline: true, cache: {cache}, chdir: {json.dumps(str(made.root))}"
    path.write_text(
        f"- name: Build\n  hosts: localhost\n  tasks:\n    - name: Build\n      cargo: {{command: build, {words}}}\n"
    )
    return str(path)


def judged(figures: list[Figure]) -> Iterator[tuple[str, bool]]:
    """Each aim in words, and whether it is met."""
    by = {(one.work, one.who): one for one in figures}
    for (work, who), one in by.items():
        than, aim = AIMS.get(work, ("", 0.0))
        plain = by.get((than, "cargo"))
        if plain and who not in ("cargo", FLOOR):
            saved = 1 - one.cost.wall_s / plain.cost.wall_s
            yield f"{work} {who}: {saved:.0%} less than cargo's {than}, aim {aim:.0%}", saved >= aim
        if work in ("W11-warm", "W11-build") and one.hits is not None:
            yield f"{work} {who}: {one.hits:.0%} hits, aim {AIM_HITS:.0%}", one.hits >= AIM_HITS
    for work, theirs, most in (
        ("W11-fresh", "cargo", AIM_OVERHEAD_S),
        ("W11-affected", "metadata", AIM_AFFECTED_S),
        (f"W11-affected-{MANY}", "metadata", AIM_AFFECTED_S),
    ):
        if (work, "ciflow") in by and (work, theirs) in by:
            more = by[work, "ciflow"].cost.wall_s - by[work, theirs].cost.wall_s
            yield f"{work}: {more:.2f} s more than {theirs}, aim {most:g} s", more <= most


def run(rounds: int, figures: Callable[[], Iterator[Figure]] = builds) -> list[Figure]:
    """All figures, of each the best of the rounds. A failure ends a round and is told."""
    best: dict[tuple[str, str], Figure] = {}
    for _ in range(rounds):
        try:
            for one in figures():
                hits = "" if one.hits is None else f", {one.hits:.0%} hits"
                hits += "" if one.elsewhere is None else f", {one.elsewhere:.0%} compiled elsewhere"
                print(f"  {one.work} {one.who}: {one.cost.wall_s:.2f} s, cpu {one.cost.cpu_s:.2f} s{hits}", flush=True)
                known = best.get((one.work, one.who))
                if known is None or one.cost.wall_s < known.cost.wall_s:
                    best[one.work, one.who] = one
        except (Failed, MissingPart) as failed:
            print(f"  W11 is not whole: {failed}", file=sys.stderr)
    return list(best.values())
