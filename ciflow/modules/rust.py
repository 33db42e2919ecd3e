"""What cargo and nextest said, as outcomes. Pure; apart from the verbs, so that only a run that uses them pays."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ciflow.cargo import libtest, messages, metadata
from ciflow.cargo.complaints import complaint
from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.junit import JUnitReport, Verdict
from ciflow.cargo.messages import BuildReport, CompilerMessage
from ciflow.cargo.metadata import Workspace
from ciflow.model import Outcome, Reply
from ciflow.modules.cargo import COMPILES
from ciflow.modules.replies import failure, process_data, process_message, text

_SHOWN_ERRORS = 3
_SUMMARY = re.compile(
    r"Summary \[.*?\] +(\d+)(?:/\d+)? tests? run: (\d+) passed(?: \((\d+) flaky\))?(?:, (\d+) failed)?"
)
_INSTEAD = "cargo-nextest is not installed, so cargo test ran"


def outcome(command: str, reply: Reply, output: str, cmd: list[str]) -> Outcome:
    """Of any cargo command; `output` is all of its standard output."""
    try:
        return _outcome(command, reply, output, process_data(reply, cmd))
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error), data=process_data(reply, cmd))


def workspace(described: str) -> Workspace | str:
    """What `cargo metadata` describes; or why that can't be read."""
    try:
        return metadata.parse(described)
    except ToolOutputError as error:
        return str(error)


def _outcome(command: str, reply: Reply, output: str, data: dict[str, Any]) -> Outcome:
    match command:
        case "metadata" if reply.ok:
            found = metadata.parse(output)
            members = {member.name: member.version for member in found.members}
            data |= {"workspace_root": found.root, "target_directory": found.target_directory}
            data |= {"members": members, "binaries": dict(found.bins), "stdout": "", "stdout_lines": []}
            return Outcome(data=data)
        case "test":
            return _tested(reply, output, data)
        case _ if command in COMPILES:
            return _compiled(command, reply, messages.parse(output), data)
        case _:
            return Outcome(changed=reply.changed, failed=not reply.ok, msg=reason(reply), data=data)


def _compiled(command: str, reply: Reply, report: BuildReport, data: dict[str, Any]) -> Outcome:
    """A build is a change unless everything was fresh; a check or a lint leaves nothing that anybody uses."""
    programs = report.executables()
    said = [*(message.rendered.rstrip() for message in report.messages), data["stderr"]]
    stderr = "\n".join(part for part in said if part)
    data |= {
        "stderr": stderr,
        "stderr_lines": stderr.splitlines(),
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
    msg = "" if reply.ok else _errors(report) or reason(reply)
    return Outcome(changed=changed, failed=not reply.ok, msg=msg, data=data)


def _tested(reply: Reply, output: str, data: dict[str, Any]) -> Outcome:
    totals = libtest.parse(output)
    data |= _tested_data(totals)
    if reply.ok:
        return Outcome(msg=f"{totals.passed} tests passed", data=data)
    failed = f"{totals.failed} of {totals.passed + totals.failed} tests failed: {', '.join(totals.failed_names)}"
    return Outcome(failed=True, msg=failed if totals.failed else reason(reply), data=data)


def _tested_data(totals: libtest.TestTotals) -> dict[str, Any]:
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


def of_nextest(reply: Reply, report: JUnitReport | None, path: str, data: dict[str, Any]) -> Outcome:
    """From the JUnit file at `path`, or without one from nextest's last line."""
    return _summarised(reply, data) if report is None else _reported(reply, report, data | {"junit": path})


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
        data |= {"tests": tests, "passed": passed, "failures": failed, "flaky": [f"{flaky} tests"] if flaky else []}
    msg = f"{data.get('passed', 'all')} tests passed" if reply.ok else reason(reply)
    return Outcome(failed=not reply.ok, msg=msg, data=data)


def of_cargo_test(reply: Reply, output: str, data: dict[str, Any]) -> Outcome:
    """Where nextest is missing: the totals of `cargo test`, and which of the two it was."""
    told = _tested(reply, output, data)
    return replace(told, msg=f"{told.msg} ({_INSTEAD})")


def with_doctests(before: Outcome, reply: Reply, cmd: list[str]) -> Outcome:
    """The tests that went well, and the examples of the documentation after them."""
    totals = libtest.parse(text(reply.stdout))
    data = {**before.data, "doctests": totals.passed + totals.failed}
    if reply.ok and reply.status == "done":
        data["passed"] = data.get("passed", 0) + totals.passed
        data["tests"] = data.get("tests", 0) + totals.passed
        said = f"{before.msg}, and {totals.passed} doctests" if totals.passed else before.msg
        return replace(before, msg=said, data=data)
    data |= process_data(reply, cmd) | {"failed_tests": list(totals.failed_names)}
    if reply.status != "done":
        return failure(reply, data)
    names = ", ".join(totals.failed_names)
    return Outcome(failed=True, msg=f"doctests failed: {names}" if names else reason(reply), data=data)


def reason(reply: Reply) -> str:
    """What these tools say was wrong, in one line."""
    if reply.ok:
        return ""
    return (complaint(text(reply.stderr)) if not reply.error else "") or process_message(reply)


def refused(reply: Reply, cmd: str | list[str], what: str) -> Outcome:
    """A tool that gave no answer, with its reason where it has one."""
    outcome = failure(reply, process_data(reply, cmd), what)
    said = complaint(text(reply.stderr)) if reply.status == "done" else ""
    return replace(outcome, msg=f"{what}: {said}") if said else outcome
