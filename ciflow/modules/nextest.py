"""`nextest`: run a workspace's tests, each in a process of its own, and read back what became of every one."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Read, Reply, Steps, Write
from ciflow.modules.cargo import cached, environment, missing, selection
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, text, well

if TYPE_CHECKING:
    from ciflow.cargo.metadata import Workspace

# Line 1: the version of nextest, empty where it is missing. Then the workspace.
_LOOK = """
command -v cargo >/dev/null || exit 127
cargo nextest --version 2>/dev/null | head -n 1 | grep . || echo
exec cargo metadata --no-deps --format-version=1
"""
# Exit codes of nextest (https://docs.rs/nextest-metadata, NextestExitCode).
_OK, _TESTS_FAILED = 0, 100


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The tests, with a compiler cache around them where that is asked for."""

    def build(env: Mapping[str, str]) -> Steps:
        return _tests({**args, "env": env}, context)

    return (yield from cached(args["cache"], environment(args, context), context, build))


def _tests(args: Mapping[str, Any], context: Context) -> Steps:
    """Look what is there; nextest, or `cargo test` where it is missing (and the outcome says so); then doctests."""
    from ciflow.modules import rust  # only a run that gets here pays for the parsers

    look = Exec(shell=_LOOK.strip() + "\n", cwd=args.get("chdir", ""), env=environment(args, context))
    seen = yield Probe(look)
    if seen.rc == 127:
        return missing("cargo nextest run")
    output = yield from whole_stdout(seen)
    if isinstance(output, Reply) or not well(seen):
        return failure(seen, process_data(seen, "cargo metadata"), "cargo metadata failed")
    version, _, described = text(output).partition("\n")
    workspace = rust.workspace(described)
    if isinstance(workspace, str):
        return Outcome(failed=True, msg=workspace)
    outcome = yield from (_nextest(args, context, workspace) if version else _cargo_test(args, context))
    data = {**outcome.data, "runner": version.split(" (")[0] or "cargo test"}
    doctests = version and args["doctests"] and any(member.doctests for member in workspace.members)
    if not doctests or outcome.failed or outcome.skipped:
        return replace(outcome, data=data)
    return (yield from _doctests(args, context, replace(outcome, data=data)))


def _nextest(args: Mapping[str, Any], context: Context, workspace: Workspace) -> Steps:
    from ciflow.modules import rust

    config = posixpath.join(workspace.target_directory, "ciflow", "nextest.toml")
    profile = args["profile"]
    wish = f'[profile.{profile}.junit]\npath = "junit.xml"\n'.encode()
    if not context.check:
        for step in (Mkdir(path=posixpath.dirname(config)), Write(path=config, content=wish)):
            made = yield Change(step)
            if not well(made):
                return failure(made)
    operation = _program(args, context, ("nextest", "run", "--tool-config-file", f"ciflow:{config}"), profile)
    reply = yield Change(operation)
    if predicted(reply):
        return Outcome(skipped=True, msg="tests do not run in check mode")
    data = process_data(reply, list(operation.argv))
    if reply.status != "done":
        return failure(reply, data)
    if reply.rc not in (_OK, _TESTS_FAILED):
        return Outcome(failed=True, msg=rust.reason(reply), data=data)
    path = posixpath.join(workspace.root, "target", "nextest", profile, "junit.xml")
    read = yield Probe(Read(path=path))
    return rust.of_nextest(reply, read.stdout if well(read) else None, path, data)


def _program(args: Mapping[str, Any], context: Context, words: tuple[str, ...], profile: str = "") -> Exec:
    chosen = selection({**args, "profile": ""})
    tail = ["--profile", profile] if profile else []
    tail += ["--cargo-profile", args["cargo_profile"]] if profile and args.get("cargo_profile") else []
    tail += ["--retries", str(args["retries"])] if profile and args["retries"] else []
    tail += ["-E", args["filter"]] if profile and args.get("filter") else []
    tail += ["--no-fail-fast"] if not args["fail_fast"] else []
    env = environment(args, context)
    return Exec(argv=("cargo", *words, *chosen, *tail), cwd=args.get("chdir", ""), env=env, timeout=context.timeout)


def _cargo_test(args: Mapping[str, Any], context: Context) -> Steps:
    from ciflow.modules import rust

    operation = _program(args, context, ("test",))
    reply = yield Change(operation)
    if predicted(reply):
        return Outcome(skipped=True, msg="tests do not run in check mode")
    output = yield from whole_stdout(reply)
    data = process_data(reply, list(operation.argv))
    if isinstance(output, Reply) or reply.status != "done":
        return failure(reply if isinstance(output, bytes) else output, data)
    return rust.of_cargo_test(reply, text(output), data)


def _doctests(args: Mapping[str, Any], context: Context, before: Outcome) -> Steps:
    """nextest can't run them; they are tests all the same."""
    from ciflow.modules import rust

    operation = _program({**args, "bin": None, "all_targets": False}, context, ("test", "--doc"))
    reply = yield Change(operation)
    return rust.with_doctests(before, reply, list(operation.argv))
