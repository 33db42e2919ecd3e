"""W11: a Rust workspace built and tested cold, out of the cache, for one changed line, and in two shards.

The workspace is made here: 44 crates in layers, with derives, tests and real dependencies from the registry, which
cargo fetches before anything is timed. Each figure's contender is plain `cargo test` on the same workspace.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import contenders
from benchmarks.measure import Cost, Failed, measure
from tests.parts.process import MissingPart, short_folder
from tests.parts.redis import redis
from tests.parts.s3 import BUCKET, KEYS, s3

CRATES = 44
REGISTRY = {
    "serde": '{ version = "1", features = ["derive"] }',
    "serde_json": '"1"',
    "regex": '"1"',
    "thiserror": '"2"',
    "anyhow": '"1"',
    "url": '"2"',
    "toml": '"0.8"',
    "indexmap": '{ version = "2", features = ["serde"] }',
}
LEAF = f"part{CRATES - 1}"  # nothing needs it
BIN = Path(sys.executable).parent
SAMPLE_S = 0.2
BUILD = ("build", "--workspace", "--locked", "--offline", "-q")
# What is aimed at: shares of the wall time that are saved, the share of hits, and seconds.
AIMS = {"W11-warm": ("W11-cold", 0.70), "W11-build": ("W11-build", 0.70), "W11-line": ("W11-cold", 0.85)}
AIM_HITS, AIM_OVERHEAD_S, AIM_AFFECTED_S = 0.90, 0.3, 0.5


@dataclass(frozen=True)
class Figure:
    """One measured step. `hits` is the share of cacheable compilations that came out of the cache."""

    work: str
    who: str
    cost: Cost
    hits: float | None = None


def write_workspace(root: Path, seed: int = 11) -> None:
    """44 crates; each needs up to three of the layers below it and three from the registry."""
    choose = random.Random(seed)
    for number in range(CRATES):
        folder = root / f"part{number}"
        (folder / "src").mkdir(parents=True)
        below = range(number // 6 * 6)
        needs = choose.sample(below, min(len(below), 3))
        others = {"serde", "serde_json", *choose.sample(sorted(REGISTRY), 2)}
        lines = [f'part{one} = {{ path = "../part{one}" }}' for one in needs]
        lines += [f"{name}.workspace = true" for name in sorted(others)]
        manifest = f'[package]\nname = "part{number}"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\n'
        (folder / "Cargo.toml").write_text(manifest + "\n".join(lines) + "\n")
        (folder / "src" / "lib.rs").write_text(source(number, needs))
    registry = "\n".join(f"{name} = {wanted}" for name, wanted in REGISTRY.items())
    (root / "Cargo.toml").write_text(
        f'[workspace]\nresolver = "2"\nmembers = ["part*"]\n\n[workspace.dependencies]\n{registry}\n'
    )
    (root / ".gitignore").write_text("/target\n")


def source(number: int, needs: list[int]) -> str:
    """Twelve types with derives, functions over them and over what the crate needs, and tests."""
    used = " + ".join(["1", *(f"part{one}::total()" for one in needs)])
    types = "".join(
        f"#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]\n"
        f"pub struct Record{n} {{\n    pub id: u64,\n    pub name: String,\n    pub tags: Vec<String>,\n"
        f"    pub next: Option<Box<Record{n}>>,\n}}\n"
        f"pub fn text{n}(record: &Record{n}) -> String {{ serde_json::to_string(record).unwrap_or_default() }}\n"
        for n in range(12)
    )
    tests = "".join(
        f"    #[test] fn text{n}_is_read_back() {{\n"
        f'        let one = Record{n} {{ id: {n}, name: "a".into(), tags: vec![], next: None }};\n'
        f"        assert_eq!(serde_json::from_str::<Record{n}>(&text{n}(&one)).unwrap(), one);\n    }}\n"
        for n in range(12)
    )
    total = f"pub fn total() -> u64 {{ {used} }}\n"
    return f"//! Part {number}.\n{types}{total}#[cfg(test)]\nmod tests {{\n    use super::*;\n{tests}}}\n"


@dataclass(frozen=True)
class Bench:
    """The workspace, and the environment of whoever builds it."""

    root: Path
    home: Path
    env: Mapping[str, str]

    def clean(self) -> None:
        shutil.rmtree(self.root / "target", ignore_errors=True)

    def run(self, work: str, who: str, *argv: str, **env: str) -> Figure:
        """One program in the workspace's folder, with the CPU of caches that it started."""
        with _Caches(self.env["SCCACHE_DIR"]) as caches:
            inside = ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(self.root), *argv)
            cost = measure(inside, {**self.env, **env}, self.home, timeout_s=3600.0)
        told = (self.home / "output.log").read_text(errors="replace")
        return Figure(work, who, replace(cost, cpu_s=cost.cpu_s + caches.cpu_s), _hits(told))

    def cargo(self, work: str, *words: str) -> Figure:
        return self.run(work, "cargo", "cargo", *words)

    def ciflow(self, work: str, who: str, *words: str, **env: str) -> Figure:
        return self.run(work, who, *contenders.ciflow(*words, "--state", str(self.home / "state")).argv, **env)


class _Caches(threading.Thread):
    """CPU seconds of sccache's servers over one folder, with the compilers they waited for."""

    def __init__(self, folder: str) -> None:
        super().__init__(daemon=True)
        self._mark = f"SCCACHE_DIR={folder}".encode()
        self._ticks: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._over = threading.Event()

    @property
    def cpu_s(self) -> float:
        used = sum(ticks - self._before.get(pid, 0) for pid, ticks in self._ticks.items())
        return used / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> "_Caches":
        self._look()
        self._before = dict(self._ticks)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._look()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                if (place / "comm").read_text().strip() == "sccache" and self._mark in (place / "environ").read_bytes():
                    fields = (place / "stat").read_text().rpartition(")")[2].split()
                    self._ticks[place.name] = sum(int(field) for field in fields[11:15])  # proc(5): utime .. cstime


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
def bench() -> Iterator[Bench]:
    """Made, in git, and with all that it needs fetched."""
    for program in ("sccache", "cargo-nextest"):
        if not (BIN / program).exists():
            raise MissingPart(f"{program} is not installed: make parts")
    with short_folder("w11") as home:
        root = home / "workspace"
        write_workspace(root)
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
        made.clean()
        yield made.cargo("W11-cold", "test", "--workspace", "--locked", "--offline", "-q")
        yield from _changed_line(made)
        made.clean()
        yield made.cargo("W11-build", *BUILD)
        yield from _fresh(made)
        for kind in ("local", "redis", "s3"):
            with contextlib.suppress(MissingPart):
                yield from _cached(made, kind)
        yield from _sharded(made)


def _test(*more: str) -> tuple[str, ...]:
    return ("test", "--offline", "--json", *more)


def _cached(made: Bench, kind: str) -> Iterator[Figure]:
    """Into an empty store, and out of it again into an empty target folder."""
    who = f"ciflow-{kind}"
    shutil.rmtree(made.env["SCCACHE_DIR"], ignore_errors=True)
    with _store(kind, made.home) as env:
        for work in ("W11-cold", "W11-warm"):
            made.clean()
            if kind != "local":  # the nearer tier would answer, and the store never be asked
                shutil.rmtree(made.env["SCCACHE_DIR"], ignore_errors=True)
            yield made.ciflow(work, who, *_test("--cache", kind), **env)
        made.clean()
        yield made.ciflow("W11-build", who, "apply", "--json", _play(made, kind), **env)


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
    """One line of a leaf crate, on top of what is built: all by cargo, what is touched by ciflow."""
    path = made.root / LEAF / "src" / "lib.rs"
    text = path.read_text()
    made.ciflow("", "", *_test())  # nextest's own tests are built as well, as on the day before
    for number, (who, argv) in enumerate((
        ("cargo", ("cargo", "test", "--workspace", "--locked", "--offline", "-q")),
        ("ciflow", (*contenders.ciflow(*_test("--affected")).argv, "--state", str(made.home / "state"))),
    )):  # fmt: skip
        path.write_text(f"{text}pub fn more() -> u64 {{ {number} }}\n")
        yield made.run("W11-line", who, *argv)
    yield made.ciflow("W11-affected", "ciflow", "affected", "--offline")
    yield made.run("W11-affected", "metadata", "cargo", "metadata", "--locked", "--offline", "--format-version=1")
    path.write_text(text)


def _fresh(made: Bench) -> Iterator[Figure]:
    """A build that has nothing to do: what ciflow itself takes."""
    yield made.cargo("W11-fresh", *BUILD)
    yield made.ciflow("W11-fresh", "ciflow", "apply", _play(made, "none"))


def _play(made: Bench, cache: str) -> str:
    """A playbook that builds the workspace."""
    path = made.home / f"build-{cache}.yml"
    words = f"workspace: true, locked: true, offline: true, cache: {cache}, chdir: {json.dumps(str(made.root))}"
    path.write_text(
        "- name: Build\n  hosts: localhost\n  tasks:\n    - name: Build\n"
        f"      cargo: {{command: build, {words}}}\n"
    )
    return str(path)


def _sharded(made: Bench) -> Iterator[Figure]:
    """Two machines' worth, one after the other here, each with a full cache and nothing built."""
    for number in (1, 2):
        made.clean()
        yield made.ciflow(f"W11-shard-{number}", "ciflow-local", *_test("--cache", "local", "--shard", f"{number}/2"))


def judged(figures: list[Figure]) -> Iterator[tuple[str, bool]]:
    """Each aim in words, and whether it is met."""
    by = {(one.work, one.who): one for one in figures}
    for (work, who), one in by.items():
        than, aim = AIMS.get(work, ("", 0.0))
        plain = by.get((than, "cargo"))
        if plain and who != "cargo":
            saved = 1 - one.cost.wall_s / plain.cost.wall_s
            yield f"{work} {who}: {saved:.0%} less than cargo's {than}, aim {aim:.0%}", saved >= aim
        if work in ("W11-warm", "W11-build") and one.hits is not None:
            yield f"{work} {who}: {one.hits:.0%} hits, aim {AIM_HITS:.0%}", one.hits >= AIM_HITS
    for work, theirs, most in (("W11-fresh", "cargo", AIM_OVERHEAD_S), ("W11-affected", "metadata", AIM_AFFECTED_S)):
        if (work, "ciflow") in by and (work, theirs) in by:
            more = by[work, "ciflow"].cost.wall_s - by[work, theirs].cost.wall_s
            yield f"{work}: {more:.2f} s more than {theirs}, aim {most:g} s", more <= most


def run(rounds: int) -> list[Figure]:
    """All figures, of each the best of the rounds. A failure ends a round and is told."""
    best: dict[tuple[str, str], Figure] = {}
    for _ in range(rounds):
        try:
            for one in builds():
                hits = "" if one.hits is None else f", {one.hits:.0%} hits"
                print(f"  {one.work} {one.who}: {one.cost.wall_s:.2f} s, cpu {one.cost.cpu_s:.2f} s{hits}", flush=True)
                known = best.get((one.work, one.who))
                if known is None or one.cost.wall_s < known.cost.wall_s:
                    best[one.work, one.who] = one
        except (Failed, MissingPart) as failed:
            print(f"  W11 is not whole: {failed}", file=sys.stderr)
    return list(best.values())
