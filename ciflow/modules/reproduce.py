"""`reproduce`: build twice under other conditions and compare, or compare what two builders made."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import At, Change, Context, Exec, Mkdir, Outcome, Probe, Read, Remove, Reply, Step, Steps, Write
from ciflow.modules.replies import failure, text, well
from ciflow.modules.vouching import rooted
from ciflow.supply.canonical import to_bytes
from ciflow.supply.causes import Cause, Setting, explain
from ciflow.supply.divergence import compare

FORM = "ciflow-reproduce/1"
_MOST_READ = 64 * 1024 * 1024  # bytes of a file that is taken apart; a larger one is told by its digest
_MOST_FILES = 8  # that differ and are taken apart
# Two values of everything: what the first build gets, and what one that varies it gets.
_SETTINGS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "user": {"USER": ("builder", "somebody"), "LOGNAME": ("builder", "somebody")},
    "timezone": {"TZ": ("UTC", "<+0545>-5:45")},
    "locale": {"LC_ALL": ("C.UTF-8", "fr_CH.UTF-8"), "LANG": ("C.UTF-8", "fr_CH.UTF-8")},
    "jobs": {"CARGO_BUILD_JOBS": ("1", "3"), "MAKEFLAGS": ("-j1", "-j3"), "JOBS": ("1", "3")},
    "umask": {"CIFLOW_UMASK": ("022", "027")},
    "files": {"CIFLOW_SORT": ("", "-r")},
}
# Arguments: the source, the folder to build in, where outputs go, the command, folders to leave out; then patterns.
_BUILD = r"""
source=$1 place=$2 save=$3 command=$4 without=$5; shift 5
: "${CARGO_HOME:=$HOME/.cargo}" "${RUSTUP_HOME:=$HOME/.rustup}"  # compilers stay where they are
export CARGO_HOME RUSTUP_HOME HOME="$CIFLOW_HOME"
rm -rf "$place" "$save"; mkdir -p "$place" "$save/out" "$HOME" || exit 1
cd "$source" || exit 1
find . ! -type d | LC_ALL=C grep -v -x -E "\./($without)/.*" | LC_ALL=C sort $CIFLOW_SORT > "$save/list"
(umask 022; tar -cf - -T "$save/list" | tar -xpf - -C "$place") || exit 1
cd "$place" || exit 1
stamp=$save/../stamp mask=$CIFLOW_UMASK
unset CIFLOW_UMASK CIFLOW_SORT CIFLOW_HOME
while [ "$(cat "$stamp" 2>/dev/null)" = "$(date +%s)" ]; do sleep 0.1; done  # no two in the same second
date +%s > "$stamp"
(umask "$mask"; /bin/sh -c "$command" < /dev/null > "$save/log" 2>&1) || { tail -n 30 "$save/log" >&2; exit 1; }
for pattern; do
  for file in $pattern; do
    [ -f "$file" ] && [ "${file%.d}" = "$file" ] || continue
    mkdir -p "$save/out/$(dirname "$file")"; cp -p "$file" "$save/out/$file"
    printf 'file %s %s\n' "$(sha256sum < "$file" | cut -d ' ' -f 1)" "$file"
  done
done
grep -rlE --include='*.rs' 'env!\("(CARGO_MANIFEST_DIR|OUT_DIR|PWD)"' . | sed 's,^\./,source - ,'
find . -path '*/deps/*.rlib' -exec ls -tr {} + | while read -r crate; do
  printf 'crate %s %s\n' "$(sha256sum < "$crate" | cut -d ' ' -f 1)" "$crate"
done
"""


@dataclass(frozen=True, slots=True)
class Build:
    """One build: digests of its outputs, and of the crates on the way to them, in the order in which they were made.
    `sources` ask for the folder that they are built in."""

    setting: Setting
    files: Mapping[str, str]
    crates: Mapping[str, str]
    sources: tuple[str, ...]
    saved: str


class _Failed(Exception):
    """What ends the task."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.msg)
        self.outcome = outcome


Asked = Generator[Step, Reply, Build]


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """In check mode nothing is built; what is there already is compared."""
    try:
        if args["compare"]:
            return (yield from _compared(args, context))
        if context.check:
            return Outcome(msg="would build it twice")
        return (yield from _built_twice(args, context))
    except _Failed as failed:
        return failed.outcome


def _built_twice(args: Mapping[str, Any], context: Context) -> Steps:
    made = yield Change(Mkdir(path=args.get("workdir", ""), temporary="directory", prefix="ciflow-reproduce-"))
    if not well(made):
        return failure(made)
    lab = _Lab(args, context, str(made.data["path"]))
    try:
        report = yield from lab.report()
    except _Failed as failed:
        yield Change(Remove(path=lab.folder))
        return failed.outcome
    yield Change(Remove(path=lab.folder))
    return (yield from _told(args, report))


class _Lab:
    """A folder on the host in which builds are made."""

    def __init__(self, args: Mapping[str, Any], context: Context, folder: str) -> None:
        self.args = args
        self.context = context
        self.folder = folder
        self.number = 0

    def report(self) -> Generator[Step, Reply, dict[str, Any]]:
        """Build, build again with everything varied, and where that differs look for the least that makes it so."""
        vary = tuple(self.args["vary"])
        first = yield from self.build(())
        if not first.files:
            raise _Failed(Outcome(failed=True, msg=f"the build left nothing like {', '.join(self.args['outputs'])}"))
        other = yield from self.build(vary)
        if _same(first, other):
            return _report(first, other, (), [])
        least, other = yield from self.smallest(first, vary, other)
        causes = yield from self.causes(first, other, least)
        report = _report(first, other, least, causes)
        before = "; ".join(dict.fromkeys(cause.fix.before for cause in causes if cause.fix.before))
        if self.args["try_fix"] and before:
            report["fixed"] = yield from self.mended(before, least)
        return report

    def build(self, varied: tuple[str, ...], before: str = "") -> Asked:
        """One build. `varied` says what is otherwise than in the first; `before` are lines to run before it."""
        self.number += 1
        root = f"{self.folder}/" + ("elsewhere/in-a-longer-folder/build" if "path" in varied else "here/build")
        home = f"{self.folder}/" + ("home-of-another" if "home" in varied else "home")
        env = {**self.context.environment, **_environment(varied), "CIFLOW_HOME": home}
        command = f"{before}; {self.args['command']}" if before else self.args["command"]
        saved = f"{self.folder}/saved-{self.number}"
        without = "|".join(self.args["exclude"]) or "$^"
        words = (self.args["chdir"], root, saved, command, without, *self.args["outputs"])
        argv = ("/bin/sh", "-c", _BUILD, "sh", *words)
        reply = yield Change(Exec(argv=argv, env=env, timeout=self.context.timeout))
        if not well(reply):
            raise _Failed(failure(reply, what="the build failed"))
        setting = Setting(root, home, reply.started, reply.started + reply.duration)
        return Build(setting, *_listed(text(reply.stdout)), saved)

    def smallest(
        self, first: Build, vary: tuple[str, ...], other: Build
    ) -> Generator[Step, Reply, tuple[tuple[str, ...], Build]]:
        """The least of `vary` under which it still differs, by halves; () when it differs with nothing varied."""
        again = yield from self.build(())
        if not _same(first, again):
            return (), again
        found = vary
        while len(found) > 1:
            half = len(found) // 2
            for part in (found[:half], found[half:]):
                tried = yield from self.build(part)
                if not _same(first, tried):
                    found, other = part, tried
                    break
            else:
                break  # only together
        return found, other

    def causes(self, a: Build, b: Build, least: tuple[str, ...]) -> Generator[Step, Reply, list[Cause]]:
        """What the files that differ say."""
        found = []
        for name in [name for name in a.files if name in b.files and a.files[name] != b.files[name]][:_MOST_FILES]:
            pair = []
            for build in (a, b):
                reply = yield Probe(Read(path=f"{build.saved}/out/{name}", limit=_MOST_READ))
                if not well(reply):
                    raise _Failed(failure(reply))
                pair.append(reply.stdout)
            found += compare(name, pair[0], pair[1])
        causes = explain(found, least, a.setting, b.setting) if found else []
        asking = ", ".join(a.sources[:3])
        return [replace(one, owner=asking) if one.kind == "env" and not one.owner else one for one in causes]

    def mended(self, before: str, least: tuple[str, ...]) -> Generator[Step, Reply, bool]:
        """Whether the fix works: both builds with it are the same."""
        one = yield from self.build((), before)
        two = yield from self.build(least, before)
        return _same(one, two)


def _environment(varied: tuple[str, ...]) -> dict[str, str]:
    """The first or the second value of each variable."""
    pairs = ((name, pair[kind in varied]) for kind, values in _SETTINGS.items() for name, pair in values.items())
    return dict(pairs)


def _listed(printed: str) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    """(outputs, crates, sources): digests by name. Crates lose the hash in their names: it is the build's own."""
    files: dict[str, str] = {}
    crates: dict[str, str] = {}
    sources: list[str] = []
    for line in printed.splitlines():
        what, digest, name = [*line.split(" ", 2), "", ""][:3]
        if what == "file":
            files[name.removeprefix("./")] = digest
        elif what == "source" and not name.startswith("target/"):
            sources.append(name)
        elif what == "crate":
            crates[re.sub(r"-[0-9a-f]{16}\.rlib$", "", posixpath.basename(name)).removeprefix("lib")] = digest
    return files, crates, tuple(sources)


def _same(a: Build, b: Build) -> bool:
    return a.files == b.files


def _report(a: Build, b: Build, least: Iterable[str], causes: Iterable[Cause]) -> dict[str, Any]:
    differing = [name for name in {**a.files, **b.files} if a.files.get(name) != b.files.get(name)]
    every = sorted({**a.files, **b.files})
    files = [{"name": name, "sha256": a.files.get(name, ""), "other": b.files.get(name, "")} for name in every]
    crate = next((name for name, digest in a.crates.items() if b.crates.get(name, digest) != digest), "")
    return {
        "form": FORM,
        "reproducible": not differing,
        "files": files,
        "smallest_variation": list(least),
        "first_crate": crate if differing else "",
        "causes": [cause.to_data() for cause in causes],
    }


def _told(args: Mapping[str, Any], report: dict[str, Any]) -> Steps:
    """Write the report where it is wanted, and say it in one line."""
    if args.get("dest"):
        wrote = yield Change(Write(path=args["dest"], content=to_bytes(report)))
        if not well(wrote) and wrote.status != "skipped":
            return failure(wrote)
        report = {**report, "dest": args["dest"]}
    differing = [one["name"] for one in report["files"] if one["sha256"] != one["other"]]
    if not differing:
        return Outcome(msg=f"reproducible: {len(report['files'])} files are the same", data=report)
    causes = "; ".join(f"{one['kind']}: {one['why']}" for one in report["causes"])
    under = ", ".join(report["smallest_variation"]) or "nothing at all"
    by = "" if report.get("builders") else f" with {under} varied"
    mended = {True: "; the fix works", False: "; the fix does not mend it", None: ""}[report.get("fixed")]
    msg = f"not reproducible{by}: {', '.join(differing[:3])} ({causes or 'no common file'}){mended}"
    return Outcome(failed=args["required"], msg=msg, data=report)


# Two builders


def _compared(args: Mapping[str, Any], context: Context) -> Steps:
    """Two files, or artifacts of two builders: the same bytes, or why not."""
    if len(args["compare"]) != 2:
        return Outcome(failed=True, msg="compare takes two: artifacts of two builders, or files on the controller")
    contents, builders = [], []
    for name in args["compare"]:
        path = context.artifacts.get(name) or rooted(str(name), context)
        reply = yield At("controller", Probe(Read(path=path, limit=_MOST_READ)))
        if not well(reply):
            return failure(reply, what=f"{name} can't be compared")
        contents.append(reply.stdout)
        builders.append((yield from _builder(name, context)))
    names = [str(name) for name in args["compare"]]
    nowhere = Setting("", "", 0.0, 0.0)
    found = compare(names[0], contents[0], contents[1])
    causes = explain(found, (), nowhere, nowhere, builders=True) if found else []
    report = {
        "form": FORM,
        "reproducible": contents[0] == contents[1],
        "files": [{"name": names[0], "sha256": _sha256(contents[0]), "other": _sha256(contents[1])}],
        "builders": builders,
        "smallest_variation": [],
        "first_crate": "",
        "causes": [cause.to_data() for cause in causes],
    }
    return (yield from _told(args, report))


def _builder(name: str, context: Context) -> Generator[Step, Reply, dict[str, Any]]:
    """Who built it, as the engine wrote it down; just its name for a file that nobody saw built."""
    proof = context.provenance.get(name)
    if proof is None:
        return {"name": name}
    reply = yield At("controller", Probe(Read(path=proof)))
    told = json.loads(reply.stdout) if well(reply) else {}
    run = told.get("runDetails", {})
    hosts = told.get("buildDefinition", {}).get("internalParameters", {}).get("hosts", [])
    return {"name": name, "builder": run.get("builder", {}).get("id", ""), "hosts": hosts,
            "invocation": run.get("metadata", {}).get("invocationId", "")}  # fmt: skip


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
