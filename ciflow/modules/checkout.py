"""What a Rust workspace and its checkout look like: everything that tells which crates a change touches."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ciflow.dataclass import dataclass
from ciflow.model import Exec, Outcome, Probe, Read, Reply, Step
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import text, well

if TYPE_CHECKING:
    from ciflow.cargo.affected import Affected, Change
    from ciflow.cargo.graph import Graph
    from ciflow.cargo.reads import Doubt, Ignored, Place, Reading

Asking: TypeAlias = Generator[Step, Reply, Any]

# From the folder of a workspace: the top of its checkout, the commit to compare with, what differs, what git ignores.
# $1 is the base, or empty for where this branch left the one that others begin from.
_DIFFERS = """
top=$(git rev-parse --show-toplevel) || exit 3
cd "$top" || exit 3
base=$1
if [ -z "$base" ]; then
  for name in "${GITHUB_BASE_REF:+origin/$GITHUB_BASE_REF}" \\
    "${CI_MERGE_REQUEST_TARGET_BRANCH_NAME:+origin/$CI_MERGE_REQUEST_TARGET_BRANCH_NAME}" \\
    origin/HEAD origin/main origin/master main master; do
    [ -n "$name" ] && git rev-parse -q --verify "$name^{commit}" >/dev/null && base=$name && break
  done
fi
[ -n "$base" ] || { echo 'no branch to compare with is known' >&2; exit 4; }
with=$(git rev-parse -q --verify --end-of-options "$base^{commit}") || { echo "no commit is called $base" >&2; exit 4; }
from=$(git merge-base "$with" HEAD) || { echo "$base and HEAD have no common past here" >&2; exit 4; }
printf '%s\\0%s\\0%s\\0%s\\0%s\\0' "$top" "$base" "$from" "$(git rev-parse HEAD)" "CI=${CI:-}"
git diff --name-status --no-renames --no-relative --no-ext-diff --ignore-submodules=none -z "$from" -- || exit 5
printf '\\0'
git ls-files --others --exclude-standard -z && printf '\\0' &&
git ls-files --others --ignored --exclude-standard --directory -z && printf '\\0'
"""
_IGNORED = "exec git ls-files --others --ignored --exclude-standard --directory -z\n"
# Lines of Rust that may name files elsewhere, links with where they lead, submodules; \\1 stands between.
_SOURCES = """
git grep -zIE --untracked -e '"[^"]*\\.\\.[^"]*"' -e 'WORKSPACE_' -e 'concat!|include[a-z_]*!' -- '*.rs'
printf '\\1\\n'
git ls-files -s -z | tr '\\0' '\\n' | sed -n 's/^120000 [^\t]*\t//p' | while IFS= read -r path; do
  printf '%s\\t%s\\n' "$path" "$(readlink -- "$path")"
  printf '%s\\t%s\\n' "$path" "$(readlink -f -- "$path")"
done
printf '\\1\\n'
git ls-files -s -z | tr '\\0' '\\n' | sed -n 's/^160000 [^\t]*\t//p'
"""
# What builds left in $1: rustc's dep-info, then for each pair of a package's name and its build script what that said.
# A script counts as run only where it is no newer than what it said.
_BUILDS = """
cd "$1" 2>/dev/null || { printf '\\1\\n'; exit 0; }
shift
find . \\( -name incremental -o -name .fingerprint -o -name build -o -name doc \\) -prune -o \\
  -path '*/deps/*.d' -exec grep -he '\\.d: ' {} + | grep -v '^[^ ]*\\.d: [^ ]*/registry/src/'
printf '\\1\\n'
hash=[0-9a-f][0-9a-f][0-9a-f][0-9a-f]; hash=$hash$hash$hash$hash
while [ $# -gt 1 ]; do
  for said in ./*/build/"$1"-$hash/output ./*/*/build/"$1"-$hash/output; do
    [ -f "$said" ] || continue
    from=$(dirname "$2")
    newer=$(find "$from" -maxdepth 1 -name '*.rs' -newer "$said"
      find "$from/build" -name '*.rs' -newer "$said" 2>/dev/null)
    [ -z "$newer" ] || continue
    printf '%s\\n' "$2"
    sed -nE 's|^cargo::?rerun-if-changed=(.*)|\\1|p' "$said" |
      while IFS= read -r path; do printf '%s\\t%s\\n' "$2" "$path"; done
  done
  shift 2
done
"""
_APART = "\x01\n"


@dataclass(frozen=True)
class Difference:
    """A checkout against a commit: its top, the name of the base, the commit to compare with, and what differs.
    `advanced`: HEAD is another commit than that."""

    top: str
    base: str
    commit: str
    advanced: bool
    in_ci: bool
    changes: tuple[Change, ...]
    ignored: frozenset[str]


@dataclass(frozen=True)
class Evidence:
    """What crates read outside their folders: by their sources, and by what builds left here. `read` is all that these
    read; `ran` the build scripts that ran as they are now, `submodules` the folders of those."""

    scanned: tuple[Reading, ...]
    built: tuple[Reading, ...]
    read: tuple[Reading, ...]
    ran: frozenset[str]
    submodules: tuple[str, ...]

    def doubts(self, place: Place) -> dict[str, Doubt]:
        from ciflow.cargo.reads import unsure

        return unsure([*self.scanned, *self.read], place, set(self.ran), self.submodules)

    def ignored(self, patterns: tuple[str, ...]) -> Ignored:
        from ciflow.cargo.reads import Ignored

        return Ignored(patterns, frozenset(one.path for one in (*self.scanned, *self.read)))

    def fresh(self) -> Evidence:
        """As if nothing had been built here."""
        return Evidence(self.scanned, (), (), frozenset(), self.submodules)


@dataclass(frozen=True)
class Seen:
    """A workspace and its checkout as far as they can be seen: `unknown` is why no more of them can."""

    graph: Graph
    unknown: str = ""
    place: Place | None = None
    difference: Difference | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Touched:
    """Which crates of a workspace are touched since `base` (as it was called; "" where none can be had)."""

    graph: Graph
    affected: Affected
    base: str = ""
    commit: str = ""
    changes: int = 0


@dataclass(frozen=True)
class Ask:
    """Where to look, since when, and how; `ignore` are patterns of files that no build reads."""

    folder: str
    base: str
    ignore: tuple[str, ...]
    offline: bool
    env: Mapping[str, str]
    timeout: float = 0.0

    def shell(self, script: str, *words: str, cwd: str = "") -> Exec:
        argv = ("/bin/sh", "-c", script.lstrip("\n"), "sh", *words)
        return Exec(argv=argv, cwd=cwd or self.folder, env={**self.env, "LC_ALL": "C"}, timeout=self.timeout)


def touched(ask: Ask) -> Generator[Step, Reply, Touched | Outcome]:
    """Which crates are touched. An outcome where there is no workspace; whatever else fails touches all."""
    seen = yield from look(ask)
    return seen if isinstance(seen, Outcome) else (yield from judged(ask, seen))


def look(ask: Ask) -> Generator[Step, Reply, Seen | Outcome]:
    """The workspace, what differs, and what crates read."""
    from ciflow.cargo.reads import Place

    found = yield from workspace(ask)
    if isinstance(found, Outcome):
        return found
    graph, unresolved = found
    difference = yield from _difference(ask)
    if isinstance(difference, str):
        return Seen(graph, difference)
    place = Place(graph, difference.top, difference.ignored)
    seen = Seen(graph, unresolved, place, difference)
    if unresolved:
        return seen
    evidence = yield from reads(ask, place)
    return replace(seen, unknown=evidence) if isinstance(evidence, str) else replace(seen, evidence=evidence)


def judged(ask: Ask, seen: Seen) -> Generator[Step, Reply, Touched]:
    """Which crates are touched, of what was seen."""
    from ciflow.cargo import affected as judge

    since = seen.difference
    if since is None:
        return Touched(seen.graph, judge.all_of(seen.graph, seen.unknown))
    told = Touched(seen.graph, judge.all_of(seen.graph, seen.unknown), since.base, since.commit, len(since.changes))
    if seen.place is None or seen.evidence is None:
        return told
    if not ask.base and since.in_ci and not since.advanced:
        why = f"HEAD is {since.base} already: say the base to compare with"
        return replace(told, affected=judge.all_of(seen.graph, why))
    versions = yield from _versions(ask, seen.place, since)
    readings = (*seen.evidence.scanned, *seen.evidence.built)
    doubts = seen.evidence.doubts(seen.place)
    ignored = seen.evidence.ignored(ask.ignore)
    return replace(told, affected=judge.affected(seen.place, since.changes, readings, doubts, versions, ignored))


def workspace(ask: Ask) -> Generator[Step, Reply, tuple[Graph, str] | Outcome]:
    """The workspace with all that it needs; where that can't be resolved, its members and why."""
    from ciflow.cargo import graph
    from ciflow.cargo.errors import ToolOutputError

    words = ("cargo", "metadata", "--format-version=1", *(("--offline",) if ask.offline else ()))
    unresolved = ""
    for more in ("--locked", "--no-deps"):
        operation = Exec(argv=(*words, more), cwd=ask.folder, env=ask.env, timeout=ask.timeout)
        reply = yield Probe(operation)
        if reply.errno == "ENOENT" and reply.rc == 127:
            from ciflow.modules.cargo import missing

            return missing(list(operation.argv))
        output = yield from whole_stdout(reply)
        if well(reply) and isinstance(output, bytes):
            try:
                return graph.parse(text(output)), unresolved
            except ToolOutputError as error:
                return Outcome(failed=True, msg=str(error))
        if reply.status != "done":
            break
        unresolved = f"cargo can't resolve the workspace: {_reason(reply)}"
    from ciflow.modules import rust

    return rust.refused(reply, list(operation.argv), "cargo metadata failed")


def _difference(ask: Ask) -> Generator[Step, Reply, Difference | str]:
    """What differs from the base; or why nobody can say."""
    from ciflow.cargo.affected import Change

    reply = yield Probe(ask.shell(_DIFFERS, ask.base))
    output = yield from whole_stdout(reply)
    if not well(reply) or isinstance(output, Reply):
        return f"git can't say what changed: {_reason(reply)}"
    words = [part.decode("utf-8", "surrogateescape") for part in output.split(b"\0")]
    top, base, commit, head, ci = words[:5]
    parts: list[list[str]] = [[]]
    for word in words[5:]:
        if word:
            parts[-1].append(word)
        else:
            parts.append([])
    differing, untracked, ignored = parts[:3]

    def path(name: str) -> str:
        return posixpath.join(top, name.rstrip("/"))

    known = [Change(path(name), status) for status, name in zip(differing[::2], differing[1::2], strict=True)]
    changes = (*known, *(Change(path(name), "?") for name in untracked))
    return Difference(top, base, commit, commit != head, ci != "CI=", changes, frozenset(map(path, ignored)))


def ignored(ask: Ask, top: str) -> Generator[Step, Reply, frozenset[str] | str]:
    """What git ignores in a checkout (absolute, folders as a whole); or why that can't be told."""
    reply = yield Probe(ask.shell(_IGNORED, cwd=top))
    output = yield from whole_stdout(reply)
    if not well(reply) or not isinstance(output, bytes):
        return f"git can't say what it ignores: {_reason(reply)}"
    return frozenset(posixpath.join(top, path.rstrip("/")) for path in _text(output).split("\0") if path)


def reads(ask: Ask, place: Place) -> Generator[Step, Reply, Evidence | str]:
    """What crates read outside their folders; or why nothing can be said of that."""
    from ciflow.cargo import reads as files

    sources = yield Probe(ask.shell(_SOURCES, cwd=place.top))
    output = yield from whole_stdout(sources)
    scripts = [(crate.name, crate.script) for crate in place.graph.folders.values() if crate.script]
    words = [word for pair in scripts for word in pair]
    builds = yield Probe(ask.shell(_BUILDS, place.graph.build_directory, *words))
    left = yield from whole_stdout(builds)
    for reply, told in ((sources, output), (builds, left)):
        if not isinstance(told, bytes) or reply.status != "done":
            return f"what crates read can't be found out: {_reason(reply)}"
    assert isinstance(output, bytes) and isinstance(left, bytes)
    mentions, links, submodules = _text(output).split(_APART)
    dep_info, said = _text(left).split(_APART)
    watched, ran = files.scripts(said, place)
    read = (*files.dep_info(dep_info.splitlines(), place), *watched)
    scanned = (*files.mentions(mentions, place), *files.links(links, place))
    below = tuple(posixpath.join(place.top, one) for one in submodules.splitlines())
    return Evidence(scanned, tuple(files.elsewhere(read, place)), read, frozenset(ran), below)


def _versions(ask: Ask, place: Place, seen: Difference) -> Asking:
    """Lock file and manifests that differ, before and now."""
    from ciflow.cargo.affected import Versions, texts_wanted

    wanted = texts_wanted(seen.changes, place)
    if not wanted:
        return Versions()
    before: dict[str, str] = {}
    now: dict[str, str] = {}
    for path in wanted:
        old = yield Probe(Exec(argv=("git", "show", f"{seen.commit}:{posixpath.relpath(path, seen.top)}"),
                               cwd=seen.top, env=ask.env, timeout=ask.timeout))  # fmt: skip
        output = yield from whole_stdout(old)
        before[path] = text(output) if well(old) and isinstance(output, bytes) else ""
        new = yield Probe(Read(path=path))
        now[path] = text(new.stdout) if well(new) else ""
    return Versions(before, now)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def _reason(reply: Reply) -> str:
    """The first line of complaint that says something."""
    lines = [line.strip() for line in text(reply.stderr).splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith(("error", "fatal"))), lines[0] if lines else "")
    return reply.error or said or f"exit code {reply.rc}"
