"""The inputs of crates, as digests: what a play that passed was given, and whether the next is given the same."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.model import Exec, Outcome, Probe, Reply, Step
from ciflow.modules import checkout
from ciflow.modules.checkout import Ask, Evidence, Seen, Touched
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import text, well

if TYPE_CHECKING:
    from ciflow.cargo.graph import Crate

# The files of a checkout: those that git has with their digests, and after an empty line those that differ from it.
_FILES = """
git ls-files -s -z && printf '\\0' &&
git diff --raw --no-abbrev --no-renames --no-relative --no-ext-diff --ignore-submodules=none -z && printf '\\0' &&
git ls-files --others --exclude-standard -z
"""
# One digest for all that settles how cargo builds beside files of the checkout: tools, configuration, variables. Which
# variables the sources read is known from what builds left in $1. Of secrets nothing is taken.
_SETTLED = """
{
  rustc -vV; cargo -V
  folder=$PWD
  while [ "$folder" != / ]; do
    folder=$(dirname "$folder")
    cat "$folder/.cargo/config" "$folder/.cargo/config.toml"
  done
  cat "${CARGO_HOME:-$HOME/.cargo}/config" "${CARGO_HOME:-$HOME/.cargo}/config.toml"
  {
    env | sed -n 's/=.*//p' | grep -E '^(RUST|CARGO|CC|CXX|AR|CFLAGS|CXXFLAGS|LDFLAGS|PKG_CONFIG)'
    [ ! -d "$1" ] || find "$1" \\( -name incremental -o -name .fingerprint \\) -prune -o \\
      \\( -path '*/deps/*.d' -o -path '*/build/*/output' \\) -exec sed -nE \\
      -e 's/^# env-dep:([A-Za-z0-9_]+).*/\\1/p' -e 's/^cargo::?rerun-if-env-changed=([A-Za-z0-9_]+).*/\\1/p' {} +
  } | sort -u | grep -Ev 'TOKEN|PASSWORD|SECRET|^OUT_DIR$|^CARGO_(PKG|BIN|MANIFEST|TERM|NET|HOME|TARGET_DIR)' |
    while read -r name; do printenv "$name" >/dev/null && printf '%s=%s\\n' "$name" "$(printenv "$name")"; done
} 2>/dev/null | git hash-object --stdin
"""


@dataclass(frozen=True)
class Known:
    """What some crates of a workspace are built from. `whole` is a digest of the checkout and all that settles how it
    is built; `fingerprints` any of which being the same means the same inputs; `why` says why there are none.

    `affected`: whether any of them, or of the files named beside, is touched since `base`; `changed` are the paths of
    all that differ from that."""

    affected: bool
    base: str = ""
    changed: tuple[str, ...] = ()
    whole: str = ""
    fingerprints: tuple[str, ...] = ()
    why: str = ""


def known(ask: Ask, crates: Sequence[str], named: Sequence[str]) -> Generator[Step, Reply, Known | Outcome]:
    """Of `crates` (all members where none is named) and of files that the patterns `named` choose."""
    from ciflow.cargo.errors import ToolOutputError
    from ciflow.cargo.fingerprints import Inputs

    seen = yield from checkout.look(ask)
    if isinstance(seen, Outcome):
        return seen
    try:
        chosen = seen.graph.named(crates) if crates else seen.graph.members
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error))
    told = _since(ask, (yield from checkout.judged(ask, seen)), seen, chosen, named)
    if seen.place is None or seen.difference is None or seen.evidence is None:
        return replace(told, why=seen.unknown)
    listed = yield from files(ask, seen.difference.top)
    settled = yield Probe(ask.shell(_SETTLED, seen.graph.build_directory, cwd=seen.graph.root))
    if isinstance(listed, str) or not well(settled):
        return replace(told, why=listed if isinstance(listed, str) else "nobody can say which toolchain builds here")
    inputs = Inputs(seen.place, listed, text(settled.stdout).strip(), seen.evidence.ignored(ask.ignore))
    more = inputs.named(named)
    built = inputs.of(chosen, (*seen.evidence.scanned, *seen.evidence.built), seen.evidence.doubts(seen.place))
    fresh = seen.evidence.fresh()
    found = [f"{built.digest}{more}"] if built.digest else []
    if _foreseen(seen, fresh):
        sources = inputs.of(chosen, fresh.scanned, fresh.doubts(seen.place))
        found += [f"{sources.digest}{more}"] if sources.digest else []
    why = "" if found else built.why
    return replace(told, whole=inputs.whole, fingerprints=tuple(dict.fromkeys(found)), why=why)


def _since(ask: Ask, touched: Touched, seen: Seen, chosen: Sequence[Crate], named: Sequence[str]) -> Known:
    """Whether anything that matters differs from the base. A checkout of that branch itself has nothing to compare."""
    since = seen.difference
    if since is None or not (ask.base or since.advanced) or touched.affected.everything:
        return Known(affected=True)
    paths = tuple(one.path for one in since.changes)
    beside = any(fnmatchcase(posixpath.relpath(path, since.top), pattern) for path in paths for pattern in named)
    crates = any(crate.id in touched.affected.crates for crate in chosen)
    return Known(crates or beside, touched.base, paths)


def _foreseen(seen: Seen, fresh: Evidence) -> bool:
    from ciflow.cargo.fingerprints import foreseen

    assert seen.evidence is not None
    assert seen.place is not None
    return foreseen(fresh.scanned, seen.evidence.built, fresh.doubts(seen.place))


def files(ask: Ask, top: str) -> Generator[Step, Reply, dict[str, str] | str]:
    """Mode and digest of each file of the checkout at `top`, as it is now; or why that can't be told."""
    reply = yield Probe(ask.shell(_FILES, cwd=top))
    output = yield from whole_stdout(reply)
    if not well(reply) or not isinstance(output, bytes):
        return "git can't say which files there are"
    words = output.decode("utf-8", "surrogateescape").split("\0")
    end = words.index("")
    found: dict[str, str] = {}
    for entry in words[:end]:
        said, _, path = entry.partition("\t")
        found[path] = " ".join(said.split()[:2])
    raw, _, untracked = _parted(words[end + 1 :])
    modes = {path: said.split()[1] for said, path in zip(raw[::2], raw[1::2], strict=True)}
    for path, mode in modes.items():
        found.pop(path, None)
        if mode == "160000":
            return f"the submodule {path} has changes of its own"
    differing = [*(path for path, mode in modes.items() if mode != "000000"), *untracked]
    if odd := [path for path in differing if "\n" in path or path.endswith("/")]:
        return f"{odd[0]!r} can't be looked into"
    digests = yield from _hashed(ask, top, differing)
    if digests is None:
        return "git can't read the files that differ"
    found |= {path: f"{modes.get(path, '100644')} {digest}" for path, digest in zip(differing, digests, strict=True)}
    return {posixpath.join(top, path): said for path, said in found.items()}


def _parted(words: list[str]) -> tuple[list[str], str, list[str]]:
    """What stands before and after the first empty word."""
    at = words.index("")
    return words[:at], "", [word for word in words[at + 1 :] if word]


def _hashed(ask: Ask, top: str, paths: list[str]) -> Generator[Step, Reply, list[str] | None]:
    if not paths:
        return []
    listed = "".join(f"{path}\n" for path in paths).encode("utf-8", "surrogateescape")
    operation = Exec(argv=("git", "hash-object", "--stdin-paths"), stdin=listed, cwd=top, env=ask.env)
    reply = yield Probe(operation)
    output = yield from whole_stdout(reply)
    if not well(reply) or not isinstance(output, bytes):
        return None
    digests = text(output).split()
    return digests if len(digests) == len(paths) else None
