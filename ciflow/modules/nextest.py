"""`nextest`: run a workspace's tests, each in a process of its own, and read back what became of every one."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.cargo import junit, libtest, metadata
from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.junit import JUnitReport, Verdict
from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Read, Reply, Step, Steps, Write
from ciflow.modules.cargo import environment, missing, selection, tested
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, process_message, text, well

# Line 1: the version of nextest, empty where it is missing. Then the workspace.
_LOOK = """
command -v cargo >/dev/null || exit 127
cargo nextest --version 2>/dev/null | head -n 1 | grep . || echo
exec cargo metadata --no-deps --format-version=1
"""
# Exit codes of nextest (https://docs.rs/nextest-metadata, NextestExitCode).
_OK, _TESTS_FAILED = 0, 100
_SUMMARY = re.compile(
    r"Summary \[.*?\] +(\d+)(?:/\d+)? tests? run: (\d+) passed(?: \((\d+) flaky\))?(?:, (\d+) failed)?"
)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Look what is there; nextest, or `cargo test` where it is missing (and the outcome says so); then doctests."""
    look = Exec(shell=_LOOK.strip() + "\n", cwd=args.get("chdir", ""), env=environment(args, context))
    seen = yield Probe(look)
    if seen.rc == 127:
        return missing("cargo nextest run")
    output = yield from whole_stdout(seen)
    if isinstance(output, Reply) or not well(seen):
        return failure(seen, process_data(seen, "cargo metadata"), "cargo metadata failed")
    version, _, described = text(output).partition("\n")
    try:
        workspace = metadata.parse(described)
        outcome = yield from (_nextest(args, context, workspace) if version else _cargo_test(args, context))
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error))
    data = {**outcome.data, "runner": version.split(" (")[0] or "cargo test"}
    doctests = version and args["doctests"] and any(member.doctests for member in workspace.members)
    if not doctests or outcome.failed or outcome.skipped:
        return replace(outcome, data=data)
    return (yield from _doctests(args, context, replace(outcome, data=data)))


def _nextest(args: Mapping[str, Any], context: Context, workspace: metadata.Workspace) -> Steps:
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
        return Outcome(failed=True, msg=_reason(reply), data=data)
    path = posixpath.join(workspace.root, "target", "nextest", profile, "junit.xml")
    read = yield Probe(Read(path=path))
    if well(read):
        return _reported(reply, junit.parse(read.stdout), data | {"junit": path})
    return _summarised(reply, data)


def _program(args: Mapping[str, Any], context: Context, words: tuple[str, ...], profile: str = "") -> Exec:
    chosen = selection({**args, "profile": ""})
    tail = ["--profile", profile] if profile else []
    tail += ["--cargo-profile", args["cargo_profile"]] if profile and args.get("cargo_profile") else []
    tail += ["--retries", str(args["retries"])] if profile and args["retries"] else []
    tail += ["-E", args["filter"]] if profile and args.get("filter") else []
    tail += ["--no-fail-fast"] if not args["fail_fast"] else []
    env = environment(args, context)
    return Exec(argv=("cargo", *words, *chosen, *tail), cwd=args.get("chdir", ""), env=env, timeout=context.timeout)


def _reported(reply: Reply, report: JUnitReport, data: dict[str, Any]) -> Outcome:
    """The totals of the JUnit file, which holds every attempt of every test."""
    bad = report.having(Verdict.FAILED, Verdict.TIMEOUT)
    flaky = [case.id for case in report.having(Verdict.FLAKY)]
    data |= {
        "tests": len(report.cases) - report.count(Verdict.SKIPPED),
        "passed": report.count(Verdict.PASSED) + len(flaky),
        "failures": len(bad),
        "failed_tests": [case.id for case in bad],
        "flaky": flaky,
        "ignored": report.count(Verdict.SKIPPED),
    }
    if not reply.ok or bad:
        names = ", ".join(data["failed_tests"])
        return Outcome(failed=True, msg=f"{len(bad)} of {data['tests']} tests failed: {names}", data=data)
    said = f", {len(flaky)} of them only when tried again: {', '.join(flaky)}" if flaky else ""
    return Outcome(msg=f"{data['passed']} tests passed{said}", data=data)


def _summarised(reply: Reply, data: dict[str, Any]) -> Outcome:
    """Without a JUnit file (the workspace's own configuration puts it elsewhere): nextest's last line."""
    found = _SUMMARY.search(text(reply.stderr))
    if found:
        tests, passed, flaky, failed = (int(group or 0) for group in found.groups())
        data |= {"tests": tests, "passed": passed, "failures": failed, "flaky_count": flaky}
    msg = f"{data.get('passed', 'all')} tests passed" if reply.ok else _reason(reply)
    return Outcome(failed=not reply.ok, msg=msg, data=data)


def _cargo_test(args: Mapping[str, Any], context: Context) -> Steps:
    operation = _program(args, context, ("test",))
    reply = yield Change(operation)
    if predicted(reply):
        return Outcome(skipped=True, msg="tests do not run in check mode")
    output = yield from whole_stdout(reply)
    data = process_data(reply, list(operation.argv))
    if isinstance(output, Reply) or reply.status != "done":
        return failure(reply if isinstance(output, bytes) else output, data)
    totals = libtest.parse(text(output))
    data |= tested(totals)
    said = "cargo-nextest is not installed, so cargo test ran"
    if reply.ok:
        return Outcome(msg=f"{totals.passed} tests passed ({said})", data=data)
    names = ", ".join(totals.failed_names)
    reason = f"{totals.failed} of {data['tests']} tests failed: {names}" if totals.failed else _reason(reply)
    return Outcome(failed=True, msg=f"{reason} ({said})", data=data)


def _doctests(args: Mapping[str, Any], context: Context, before: Outcome) -> Generator[Step, Reply, Outcome]:
    """nextest can't run them; they are tests all the same."""
    operation = _program({**args, "bin": None, "all_targets": False}, context, ("test", "--doc"))
    reply = yield Change(operation)
    totals = libtest.parse(text(reply.stdout))
    data = {**before.data, "doctests": totals.passed + totals.failed}
    if reply.ok and reply.status == "done":
        data["passed"] = data.get("passed", 0) + totals.passed
        data["tests"] = data.get("tests", 0) + totals.passed
        said = f"{before.msg}, and {totals.passed} doctests" if totals.passed else before.msg
        return replace(before, msg=said, data=data)
    data |= process_data(reply, list(operation.argv)) | {"failed_tests": list(totals.failed_names)}
    if reply.status != "done":
        return failure(reply, data)
    names = ", ".join(totals.failed_names)
    return Outcome(failed=True, msg=f"doctests failed: {names}" if names else _reason(reply), data=data)


def _reason(reply: Reply) -> str:
    errors = [line for line in text(reply.stderr).splitlines() if line.lstrip().startswith("error")]
    return errors[-1].strip() if errors and not reply.error else process_message(reply)
