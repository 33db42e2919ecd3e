"""Only the dependencies of a Rust workspace: its own crates are compiled as empty ones of the same kind.

cargo calls RUSTC_WORKSPACE_WRAPPER for crates of the workspace only, and keeps what that makes apart from what the
compiler makes. So one ordinary build, with the very features and flags that it will have, leaves all of the
dependencies and nothing else: https://doc.rust-lang.org/cargo/reference/environment-variables.html
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace

from ciflow.model import Change, Exec, Outcome, Reply, Step
from ciflow.modules.replies import failure, predicted, text, well

COMMANDS = ("build", "check")
# Puts the wrapper into a place that stays the same, for what it made is known by that; says where it is.
_PREPARE = r"""
set -e
umask 077
folder=${XDG_CACHE_HOME:-$HOME/.cache}/ciflow/rust/dependencies
mkdir -p "$folder"
printf '%s' "$1" > "$folder/.rustc.$$"
chmod 700 "$folder/.rustc.$$"
mv -f "$folder/.rustc.$$" "$folder/rustc"
printf '%s' "$2" > "$folder/.empty.$$"
mv -f "$folder/.empty.$$" "$folder/empty.rs"
echo "$folder/rustc"
"""
_WRAPPER = r"""#!/bin/sh
# Made by ciflow: rustc for a crate of the workspace while only its dependencies are built.
case $1 in -*) exec "${RUSTC:-rustc}" "$@" ;; esac
rustc=$1
shift
case " $* " in *" --crate-name ___ "*) exec "$rustc" "$@" ;; *" --crate-name "*) ;; *) exec "$rustc" "$@" ;; esac
empty=${0%/*}/empty.rs
case " $* " in *" --crate-name build_script_"*) set -- "$@" --cfg quiet ;; esac
for word; do
  shift
  case $word in *.rs) [ ! -f "$word" ] || word=$empty ;; esac
  set -- "$@" "$word"
done
exec "$rustc" "$@" --cap-lints allow
"""
# A program by mistake taken for the real one says so.
_EMPTY = """#[cfg(quiet)]
fn main() {}
#[cfg(not(quiet))]
fn main() {
    eprintln!("only the dependencies of this program were built (dependencies_only)");
    std::process::exit(1);
}
"""


def prepared(command: str, operation: Exec) -> Generator[Step, Reply, Exec | Outcome]:
    """The build with the workspace's crates left empty; or what keeps it from being made."""
    if command not in COMMANDS:
        return Outcome(failed=True, msg=f"`dependencies_only` goes with {' and '.join(COMMANDS)}, not with {command}")
    argv = ("/bin/sh", "-c", _PREPARE.strip() + "\n", "sh", _WRAPPER, _EMPTY)
    reply = yield Change(Exec(argv=argv, env=operation.env))
    if predicted(reply):
        return operation
    path = text(reply.stdout).strip()
    if not well(reply) or not path:
        return failure(reply, {}, "nothing can be put into the folder for caches")
    return replace(operation, env={**operation.env, "RUSTC_WORKSPACE_WRAPPER": path})


def alone(outcome: Outcome) -> Outcome:
    """Without the programs, which are none."""
    data: Mapping[str, object] = outcome.data
    return replace(outcome, data={**data, "executables": {}, "artifact": None} if "executables" in data else data)
