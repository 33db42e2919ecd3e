"""`cargo`: build, check, lint, test or run a Rust workspace, with what cargo reports as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Change, Context, Exec, Outcome, Probe, Reply, Steps
from ciflow.modules import sccache
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, text

COMPILES = ("build", "check", "clippy", "rustc", "bench")


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One Exec, with what is asked for around it: the target folder of the build before, affected crates, a cache."""
    return (yield from around(args, context, _run))


def around(args: Mapping[str, Any], context: Context, build: Callable[[Mapping[str, Any], Context], Steps]) -> Steps:
    """`build` in the target folder that was kept, and of the crates that a change touches, where that is asked for."""
    if args["keep"]:
        from ciflow.modules import kept

        return (yield from kept.around(args, context, lambda asked: around({**asked, "keep": False}, context, build)))
    if args["affected"]:
        return (yield from of_affected(args, context, lambda chosen: build({**args, **chosen}, context)))
    return (yield from build(args, context))


def of_affected(args: Mapping[str, Any], context: Context, build: Callable[[Mapping[str, Any]], Steps]) -> Steps:
    """`build` with the arguments that choose the crates which a change touches; nothing where there is none."""
    from ciflow.modules import affected

    if wrong := next((name for name in ("bin", "archive_from") if args.get(name)), ""):
        return Outcome(failed=True, msg=f"`affected` chooses crates, and `{wrong}` what is in them: say one of the two")
    found = yield from affected.narrowed(args, context)
    if isinstance(found, Outcome):
        return found
    outcome = yield from build(found.arguments)
    return replace(outcome, data={**outcome.data, "affected": found.told})


def _run(args: Mapping[str, Any], context: Context) -> Steps:
    operation = program(args, context)
    if args["dependencies_only"]:
        return (yield from _dependencies(args, operation, context))
    if args["command"] not in (*COMPILES, "test", "run", "doc"):
        return (yield from _ran(args["command"], operation))

    def build(env: Mapping[str, str]) -> Steps:
        whole = replace(operation, env=env)
        return _tested(whole) if args["command"] == "test" else _ran(args["command"], whole)

    return (yield from cached(args["cache"], operation.env, context, build))


def _dependencies(args: Mapping[str, Any], operation: Exec, context: Context) -> Steps:
    from ciflow.modules import dependencies

    prepared = yield from dependencies.prepared(args["command"], operation)
    if isinstance(prepared, Outcome):
        return prepared

    def build(env: Mapping[str, str]) -> Steps:
        return _ran(args["command"], replace(prepared, env={**prepared.env, **env}))

    return dependencies.alone((yield from cached(args["cache"], prepared.env, context, build)))


def cached(kind: str, env: Mapping[str, str], context: Context, build: Callable[[Mapping[str, str]], Steps]) -> Steps:
    """`build`, given the environment to run in: with the cache of this `kind`, or `none`."""
    if kind == "none":
        return (yield from build(env))
    cache = yield from sccache.around(kind, env, context)
    if isinstance(cache, str):
        outcome = yield from build(env)
        return replace(outcome, data=sccache.with_cache(outcome, cache))
    outcome = yield from build({**env, **cache.env})
    if outcome.unknown:
        return outcome
    told = yield from sccache.closed(cache, env)
    return replace(outcome, data=sccache.with_cache(outcome, told))


def _ran(command: str, operation: Exec) -> Steps:
    """A second operation only where cargo wrote more than a reply carries."""
    reply = yield (Probe(operation) if command == "metadata" else Change(operation))
    if predicted(reply):
        return Outcome(skipped=True, msg="cargo does not run in check mode", data={"cmd": list(operation.argv)})
    if reply.errno == "ENOENT" and reply.rc == 127:
        return missing(list(operation.argv))
    output = yield from whole_stdout(reply)
    if isinstance(output, Reply) or reply.status != "done":
        return failure(reply if isinstance(output, bytes) else output, process_data(reply, list(operation.argv)))
    from ciflow.modules import rust  # only a run that gets here pays for the parsers

    return rust.outcome(command, reply, text(output), list(operation.argv))


def _tested(operation: Exec) -> Steps:
    from ciflow.modules import cargo_test

    commit = yield from cargo_test.commit(operation)
    ran = yield from cargo_test.tested(operation, commit)
    if isinstance(ran, Outcome):
        return ran
    from ciflow.modules import rust

    return rust.tested(ran.reply, ran.output, process_data(ran.reply, ran.cmd))


def missing(cmd: str | list[str]) -> Outcome:
    """No cargo: how to get one, since that is what everybody asks next."""
    msg = "cargo is not installed on this host, or not in its PATH. Install it from https://rustup.rs, or with apt"
    return Outcome(failed=True, msg=msg, data={"cmd": cmd, "rc": 127})


def program(args: Mapping[str, Any], context: Context) -> Exec:
    """The whole command line and its environment."""
    command = args["command"]
    argv = ["cargo", command, *selection(args)]
    if command in COMPILES:
        argv.append("--message-format=json")
    if command == "metadata":
        argv.append("--format-version=1")
    argv += [str(word) for word in args["args"]]
    lints = command == "clippy" and args["deny_warnings"]
    behind = (["-D", "warnings"] if lints else []) + [str(word) for word in args["program_args"]]
    if command == "fmt" and not any(word.startswith("--color") for word in behind):
        behind.append("--color=never")  # rustfmt colours a difference wherever TERM is set
    env = environment(args, context)
    if args["deny_warnings"] and not lints:
        env["RUSTFLAGS"] = f"{env.get('RUSTFLAGS', '')} -D warnings".strip()
    whole = (*argv, *(["--", *behind] if behind else []))
    return Exec(argv=whole, cwd=args.get("chdir", ""), env=env, timeout=context.timeout)


def environment(args: Mapping[str, Any], context: Context) -> dict[str, str]:
    """The task's environment and the module's own; no colours, since nobody sees a terminal."""
    return {
        **context.environment,
        "CARGO_TERM_COLOR": "never",
        **{str(name): str(value) for name, value in args["env"].items()},
    }


def selection(args: Mapping[str, Any]) -> list[str]:
    """What to build and how: packages, binaries, features, profile, lock."""
    words: list[str] = []
    for flag, name in (("--package", "package"), ("--bin", "bin"), ("--features", "features"), ("--target", "target")):
        for value in _several(args.get(name)):
            words += [flag, value]
    if args.get("profile"):
        words += ["--profile", args["profile"]]
    switches = ("release", "workspace", "all_targets", "all_features", "no_default_features", "locked", "offline")
    return words + [f"--{name.replace('_', '-')}" for name in switches if args.get(name)]


def _several(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
