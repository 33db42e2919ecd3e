"""The target folder of a build, kept on its host for checkouts that are made anew: argument `keep`.

It never makes a build fail, and never makes cargo take for built what isn't: `ciflow.cargo.kept` says how.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Reply, Step, Steps, Write
from ciflow.modules import affected, checkout, inputs
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import text, well

if TYPE_CHECKING:
    from ciflow.modules.checkout import Ask

_RECORD = ".ciflow/sources"
# The top of the checkout, where things are kept, all that settles the names of what is built, and the workspace.
_LOOK = """
git rev-parse --show-toplevel && (umask 077 && mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/ciflow/rust/kept") || exit 3
printf '%s\\n' "${XDG_CACHE_HOME:-$HOME/.cache}/ciflow/rust/kept"
{
  rustc -vV || exit 3
  env | grep -E '^(RUSTFLAGS|CARGO_ENCODED_RUSTFLAGS|CARGO_INCREMENTAL|CARGO_BUILD_|CARGO_PROFILE_)' | sort
} | git hash-object --stdin
exec cargo metadata --no-deps --format-version=1
"""
# Unpacks $2 beside the target folder $1 unless something was built there, and says where.
_TAKE = """
for built in "$1"/*/.fingerprint "$1"/*/*/.fingerprint; do [ ! -e "$built" ] || { echo built; exit 0; }; done
[ -f "$2" ] || { echo none; exit 0; }
mkdir -p "$1" && new=$(mktemp -d "$1/.ciflow-XXXXXX") || exit 1
tar -xf "$2" -C "$new" || { rm -rf "$new"; exit 1; }
touch "$new/now" "$2"
[ ! "$new/.ciflow/packed" -nt "$new/now" ] || { rm -rf "$new"; echo 'it comes from the future' >&2; exit 1; }
printf '%s\\n' "$new"
cat "$new/.ciflow/sources"
"""
# Gives files below $1 the times of those below $2.
_FORMER = 'cd "$2" && exec xargs -0 -r cp --attributes-only --preserve=timestamps --parents -t "$1" --\n'
_NEW = 'cd "$1" && exec xargs -0 -r touch -c --\n'
# Puts what was unpacked in $2 into the target folder $1. Whoever came first was as good.
_PLACE = """
rm -rf "$2/.ciflow/times" "$2/now"
for one in "$2"/* "$2"/.[!.]*; do [ ! -e "$one" ] || mv -T "$one" "$1/${one##*/}" 2>/dev/null || :; done
rm -rf "$2" && touch "$1/.ciflow/taken"
"""
_DROP = 'exec rm -rf -- "$1"\n'
# Whether it is worth packing: nothing is kept in $2 yet, or a twentieth of the target folder $1 is new.
_DUE = """
cd "$1" || exit 1
[ -f "$2" ] && [ -f .ciflow/taken ] || { echo due; exit 0; }
all=$(find . -path '*/deps/*' -type f | wc -l)
new=$(find . -path '*/deps/*' -type f -newer .ciflow/taken | wc -l)
[ $((new * 20)) -lt "$all" ] || echo due
"""
# Packs the target folder $1 for $2 with the times of sources below $3, while nobody else writes there; says into what.
_PACK = """
[ -n "$(command -v flock)" ] || { echo 'flock is missing' >&2; exit 1; }
mkdir -p "$1/.ciflow" && cd "$1/.ciflow" && exec 9> lock && flock -w 600 9 || exit 1
rm -rf times && mkdir times && cat > list && cd "$3" || exit 1
xargs -0 -r cp --attributes-only --preserve=timestamps --parents -t "$1/.ciflow/times" -- < "$1/.ciflow/list" || exit 1
find "${2%/*}" -name '*.tar*' -mtime +14 -exec rm -f {} +
touch "$1/.ciflow/packed"
made=$(mktemp "$2.XXXXXX") || exit 1
folder=$1 archive=$2 top=$3
how=$(command -v zstd >/dev/null && echo --zstd || echo --gzip)
set -- tar --format=posix "$how" -cf "$made" --anchored --no-wildcards-match-slash --exclude='./*/incremental' \\
  --exclude='./*/*/incremental' --exclude=./nextest --exclude=./ciflow --exclude='./*.tar.*' --exclude='./.ciflow-*' \\
  -C "$folder" .
for lock in "$folder"/*/.cargo-lock "$folder"/*/*/.cargo-lock; do
  [ ! -f "$lock" ] || set -- flock -w 120 "$lock" "$@"
done
aged() { cd "$1" && xargs -0 -r stat -L -c %y -- < "$folder/.ciflow/list" | cksum; }
if "$@" && [ "$(aged "$top")" = "$(aged "$folder/.ciflow/times")" ]; then echo "$made"; else rm -f "$made"; exit 1; fi
rm -rf "$folder/.ciflow/times"
"""
_KEEP = 'mv -f "$2" "$3" && touch "$1/.ciflow/taken"\n'


@dataclass(frozen=True, slots=True)
class Look:
    """Paths on the host: the top of the checkout, the target folder, and the file in which that is kept."""

    top: str
    target: str
    archive: str


def around(args: Mapping[str, Any], context: Context, build: Callable[[Mapping[str, Any]], Steps]) -> Steps:
    """`build` with its arguments: in the target folder of the build before, which it leaves for the next one."""
    if not args["keep"] or context.check:
        return (yield from build(args))
    args = {**args, "env": {"CARGO_INCREMENTAL": "0", **args["env"]}}
    ask = affected.ask(args, context)
    look = yield from _look(ask)
    if isinstance(look, str):
        outcome = yield from build(args)
        return _told(outcome, {"taken": False, "left": False, "lost": look})
    taken = yield from _taken(ask, look)
    outcome = yield from build(args)
    built = not outcome.unknown and not outcome.skipped and (not outcome.failed or "failures" in outcome.data)
    left = (yield from _left(ask, look)) if built else {"left": False}
    return _told(outcome, {**taken, **left})


def _told(outcome: Outcome, told: Mapping[str, Any]) -> Outcome:
    """The outcome with what became of the target folder; in words where a build went well, which it does without."""
    if outcome.failed:
        return replace(outcome, data={**outcome.data, "kept": dict(told)})
    said = outcome.msg
    if told["taken"]:
        said += f"; begun where the last build ended, {told['same']} of {told['sources']} sources being the same"
    if told.get("lost"):
        said += f"; no target folder is kept: {told['lost']}"
    return replace(outcome, msg=said.removeprefix("; "), data={**outcome.data, "kept": dict(told)})


def _look(ask: Ask) -> Generator[Step, Reply, Look | str]:
    from ciflow.modules import rust

    reply = yield Probe(ask.shell(_LOOK))
    output = yield from whole_stdout(reply)
    lines = text(output).split("\n", 3) if isinstance(output, bytes) else []
    if not well(reply) or len(lines) < 4:
        return f"the workspace or its checkout can't be seen: {_last(reply)}"
    top, folder, settled, described = lines
    workspace = rust.workspace(described)
    if isinstance(workspace, str):
        return workspace
    name = sha256("\0".join((workspace.root, workspace.target_directory, settled)).encode()).hexdigest()[:20]
    return Look(top, workspace.target_directory, posixpath.join(folder, f"{name}.tar"))


def _taken(ask: Ask, look: Look) -> Generator[Step, Reply, dict[str, Any]]:
    """The target folder as it was left, with the times of sources that are the same; unless there is one already."""
    from ciflow.cargo import kept
    from ciflow.cargo.errors import ToolOutputError

    reply = yield Change(ask.shell(_TAKE, look.target, look.archive))
    output = yield from whole_stdout(reply)
    if not well(reply) or not isinstance(output, bytes):
        return {"taken": False, "why": f"what was kept can't be unpacked: {_last(reply)}"}
    new, _, recorded = output.decode("utf-8", "surrogateescape").partition("\n")
    if new in ("built", "none"):
        why = "something is built here already" if new == "built" else "nothing was kept of this workspace yet"
        return {"taken": False, "why": why}
    files = yield from inputs.files(ask, look.top)
    try:
        if isinstance(files, str):
            raise ToolOutputError(files)
        times = kept.times(kept.read(recorded), _from_top(files, look))
    except ToolOutputError as error:
        yield Change(ask.shell(_DROP, new))
        return {"taken": False, "why": str(error)}
    for step in (
        _with(ask.shell(_FORMER, look.top, f"{new}/.ciflow/times"), times.former),
        _with(ask.shell(_NEW, look.top), times.new),
        ask.shell(_PLACE, look.target, new),
    ):
        reply = yield Change(step)
        if not well(reply):
            yield Change(ask.shell(_DROP, new))
            return {"taken": False, "why": f"sources can't be given their times: {_last(reply)}"}
    return {"taken": True, "same": len(times.former), "sources": len(kept.regular(_from_top(files, look)))}


def _left(ask: Ask, look: Look) -> Generator[Step, Reply, dict[str, Any]]:
    """The target folder packed for the next checkout, where enough of it is new."""
    due = yield Probe(ask.shell(_DUE, look.target, look.archive))
    if not well(due) or not due.stdout:
        return {"left": False}
    why = yield from _packed(ask, look)
    return {"left": not why, **({"lost": why} if why else {})}


def _packed(ask: Ask, look: Look) -> Generator[Step, Reply, str]:
    """Why it could not be; empty when it is."""
    from ciflow.cargo import kept

    found = yield from _record(ask, look)
    if isinstance(found, str):
        return found
    said = kept.text(found).encode()
    for step in (Mkdir(path=f"{look.target}/.ciflow"), Write(path=f"{look.target}/{_RECORD}", content=said)):
        if not well((yield Change(step))):
            return "the target folder can't be written"
    packed = yield Change(_with(ask.shell(_PACK, look.target, look.archive, look.top), kept.regular(found)))
    if not well(packed):
        return f"the target folder can't be packed: {_last(packed)}"
    made = text(packed.stdout).strip()
    again = yield from _record(ask, look)
    if again != found:
        yield Change(ask.shell(_DROP, made))
        return "sources changed meanwhile"
    moved = yield Change(ask.shell(_KEEP, look.target, made, look.archive))
    return "" if well(moved) else f"what was packed can't be kept: {_last(moved)}"


def _record(ask: Ask, look: Look) -> Generator[Step, Reply, dict[str, str] | str]:
    """The sources as they are now, those left out of which nobody can tell what they are; or why there is none."""
    from ciflow.cargo import kept
    from ciflow.cargo.reads import Place, within

    seen = yield from checkout.workspace(ask)
    if isinstance(seen, Outcome):
        return seen.msg
    graph, unresolved = seen
    if unresolved:
        return unresolved
    if apart := next((folder for folder in graph.folders if not within(folder, look.top)), ""):
        return f"{apart} lies outside the checkout"
    ignored = yield from checkout.ignored(ask, look.top)
    if isinstance(ignored, str):
        return ignored
    place = Place(graph, look.top, ignored)
    evidence = yield from checkout.reads(ask, place)
    if isinstance(evidence, str):
        return evidence
    files = yield from inputs.files(ask, look.top)
    if isinstance(files, str):
        return files
    unsure = {graph.crates[id].folder for id, doubt in evidence.doubts(place).items() if doubt.always}
    return kept.record(_from_top(files, look), [posixpath.relpath(folder, look.top) for folder in unsure])


def _from_top(files: Mapping[str, str], look: Look) -> dict[str, str]:
    return {posixpath.relpath(path, look.top): said for path, said in files.items()}


def _with(operation: Exec, paths: Collection[str]) -> Exec:
    return replace(operation, stdin="".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape"))


def _last(reply: Reply) -> str:
    from ciflow.cargo.complaints import complaint

    stderr = text(reply.stderr).strip()
    return complaint(stderr) or (stderr.splitlines() or [reply.error or f"exit code {reply.rc}"])[-1]
