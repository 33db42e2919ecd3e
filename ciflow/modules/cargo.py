"""`cargo`: build, check, lint, test or run a Rust workspace, with what cargo reports as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.cargo import libtest, messages, metadata
from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.messages import BuildReport, CompilerMessage
from ciflow.model import Change, Context, Exec, Outcome, Probe, Reply, Steps
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, process_message, text

_COMPILES = ("build", "check", "clippy", "rustc", "bench")
_SHOWN_ERRORS = 3


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One Exec; a second operation only where cargo wrote more than a reply carries."""
    operation = program(args, context)
    reads = args["command"] == "metadata"
    reply = yield (Probe(operation) if reads else Change(operation))
    if predicted(reply):
        return Outcome(skipped=True, msg="cargo does not run in check mode", data={"cmd": list(operation.argv)})
    if reply.errno == "ENOENT" and reply.rc == 127:
        return missing(list(operation.argv))
    output = yield from whole_stdout(reply)
    if isinstance(output, Reply) or reply.status != "done":
        return failure(reply if isinstance(output, bytes) else output, process_data(reply, list(operation.argv)))
    try:
        return _outcome(args["command"], reply, text(output), list(operation.argv))
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error), data=process_data(reply, list(operation.argv)))


def missing(cmd: str | list[str]) -> Outcome:
    """No cargo: how to get one, since that is what everybody asks next."""
    msg = "cargo is not installed on this host, or not in its PATH. Install it from https://rustup.rs, or with apt"
    return Outcome(failed=True, msg=msg, data={"cmd": cmd, "rc": 127})


def program(args: Mapping[str, Any], context: Context) -> Exec:
    """The whole command line and its environment."""
    command = args["command"]
    argv = ["cargo", command, *selection(args)]
    if command in _COMPILES:
        argv.append("--message-format=json-render-diagnostics")
    if command == "metadata":
        argv.append("--format-version=1")
    argv += [str(word) for word in args["args"]]
    lints = command == "clippy" and args["deny_warnings"]
    behind = (["-D", "warnings"] if lints else []) + [str(word) for word in args["program_args"]]
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


def _outcome(command: str, reply: Reply, output: str, cmd: list[str]) -> Outcome:
    data = process_data(reply, cmd)
    match command:
        case "metadata" if reply.ok:
            workspace = metadata.parse(output)
            members = {member.name: member.version for member in workspace.members}
            data |= {"workspace_root": workspace.root, "target_directory": workspace.target_directory}
            data |= {"members": members, "binaries": dict(workspace.bins), "stdout": "", "stdout_lines": []}
            return Outcome(data=data)
        case "test":
            return _tested(reply, output, data)
        case _ if command in _COMPILES:
            return _compiled(command, reply, messages.parse(output), data)
        case _:
            return Outcome(changed=reply.changed, failed=not reply.ok, msg=_said(reply), data=data)


def _compiled(command: str, reply: Reply, report: BuildReport, data: dict[str, Any]) -> Outcome:
    """A build is a change unless everything was fresh; a check or a lint leaves nothing that anybody uses."""
    programs = report.executables()
    data |= {
        "executables": programs,
        "artifact": next(iter(programs.values())) if len(programs) == 1 else None,
        "warnings": [_line(message) for message in report.warnings],
        "errors": [message.rendered.rstrip() for message in report.errors],
        "fresh": sum(artifact.fresh for artifact in report.artifacts),
        "compiled": sum(not artifact.fresh for artifact in report.artifacts),
        "stdout": "\n".join(report.other_lines),
        "stdout_lines": list(report.other_lines),
    }
    if reply.ok and report.success is None:
        return Outcome(failed=True, msg="cargo ended without saying that the build had finished", data=data)
    changed = command == "build" and data["compiled"] > 0
    msg = "" if reply.ok else _errors(report) or _said(reply)
    return Outcome(changed=changed, failed=not reply.ok, msg=msg, data=data)


def _tested(reply: Reply, output: str, data: dict[str, Any]) -> Outcome:
    totals = libtest.parse(output)
    data |= tested(totals)
    if reply.ok:
        return Outcome(msg=f"{totals.passed} tests passed", data=data)
    failed = f"{totals.failed} of {totals.passed + totals.failed} tests failed: {', '.join(totals.failed_names)}"
    return Outcome(failed=True, msg=failed if totals.failed else _said(reply), data=data)


def tested(totals: libtest.TestTotals) -> dict[str, Any]:
    """The keys that `cargo test` and `nextest` have in common."""
    return {
        "passed": totals.passed,
        "failed_tests": list(totals.failed_names),
        "failures": totals.failed,
        "flaky": [],
        "ignored": totals.ignored,
        "tests": totals.passed + totals.failed,
    }


def _errors(report: BuildReport) -> str:
    shown = [_line(message) for message in report.errors[:_SHOWN_ERRORS]]
    more = len(report.errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _line(message: CompilerMessage) -> str:
    code = f"[{message.code}]" if message.code else ""
    place = f" at {message.place.file}:{message.place.line}:{message.place.column}" if message.place else ""
    return f"{message.level}{code}: {message.text}{place}"


def _said(reply: Reply) -> str:
    """The last line of cargo's own words that begins with `error`, which is where its reason stands."""
    if reply.ok:
        return ""
    errors = [line for line in text(reply.stderr).splitlines() if line.startswith("error")]
    return errors[-1] if errors and not reply.error else process_message(reply)
