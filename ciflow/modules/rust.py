"""What cargo and nextest said, as outcomes. Pure; apart from the verbs, so that only a run that uses them pays."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ciflow.cargo import libtest, messages, metadata
from ciflow.cargo.complaints import complaint
from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.harnesses import Output
from ciflow.cargo.junit import JUnitReport, Verdict
from ciflow.cargo.messages import BuildReport, CompilerMessage
from ciflow.cargo.metadata import Workspace
from ciflow.model import Outcome, Reply
from ciflow.modules.cargo import COMPILES
from ciflow.modules.replies import failure, process_data, process_message, text

_SHOWN_ERRORS = 3
_DIFFERS = re.compile(r"^Diff in (\S.*?)(?::| at line )\d+:$", re.MULTILINE)
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
        case "fmt" if "--check" in data["cmd"]:
            return Outcome(failed=not reply.ok, msg=_unformatted(output, data) or reason(reply), data=data)
        case _ if command in COMPILES:
            return _compiled(command, reply, messages.parse(output), data)
        case _:
            return Outcome(changed=reply.changed, failed=not reply.ok, msg=reason(reply), data=data)


def _unformatted(output: str, data: dict[str, Any]) -> str:
    """Which files rustfmt would write otherwise; empty where that is not what it says."""
    files = list(dict.fromkeys(_DIFFERS.findall(output)))
    shown = ", ".join(files[:_SHOWN_ERRORS]) + (f" and {more} more" if (more := len(files) - _SHOWN_ERRORS) > 0 else "")
    data["unformatted"] = files
    return f"not formatted as `cargo fmt` does: {shown}" if files else ""


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


def tested(
    reply: Reply, output: Output, data: dict[str, Any], held: Collection[str] = (), recovered: Collection[str] = ()
) -> Outcome:
    """Of `cargo test`, with the keys that `nextest` has, too. The tests `held` in quarantine decide nothing, and those
    that `recovered` passed when they were tried again."""
    totals = libtest.parse(output.tests)
    aside = [case for case in output.report.cases if case.id in held and case.verdict is not Verdict.SKIPPED]
    bad = [case.id for case in aside if not case.verdict.good]
    failed = [name for id, name in output.failed.items() if id not in bad and id not in recovered]
    data |= {
        "passed": totals.passed - len(aside) + len(bad) + len(recovered),
        "failed_tests": failed,
        "failures": totals.failed - len(bad) - len(recovered),
        "flaky": list(recovered),
        "ignored": totals.ignored,
        "tests": totals.passed + totals.failed - len(aside),
        "untold": list(output.untold),
    }
    good = reply.ok or output.only_failed({*held, *recovered})
    told = f"{data['failures']} of {data['tests']} tests failed: {', '.join(failed)}" if failed else reason(reply)
    msg = f"{data['passed']} tests passed{_only_again(recovered)}" if good else told
    outcome = Outcome(failed=not good, msg=msg, data=data)
    return with_quarantine(outcome, len(aside), bad) if aside else outcome


def with_quarantine(outcome: Outcome, tests: int, bad: list[str]) -> Outcome:
    """And what became of the tests that don't gate."""
    said = f"{tests} in quarantine, " + (f"of which failed: {', '.join(bad)}" if bad else "all passed")
    before = outcome.data.get("quarantined", {"tests": 0, "failed_tests": []})
    told = {"tests": before["tests"] + tests, "failed_tests": [*before["failed_tests"], *bad]}
    return replace(outcome, msg=f"{outcome.msg}; {said}", data={**outcome.data, "quarantined": told})


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
    return Outcome(msg=f"{data['passed']} tests passed{_only_again(flaky)}", data=data)


def _only_again(flaky: Collection[str]) -> str:
    return f", {len(flaky)} of them only when tried again: {', '.join(flaky)}" if flaky else ""


def _summarised(reply: Reply, data: dict[str, Any]) -> Outcome:
    """Without a JUnit file (the workspace's own configuration puts it elsewhere): nextest's last line."""
    found = _SUMMARY.search(text(reply.stderr))
    if found:
        tests, passed, flaky, failed = (int(group or 0) for group in found.groups())
        data |= {"tests": tests, "passed": passed, "failures": failed, "flaky": [f"{flaky} tests"] if flaky else []}
    msg = f"{data.get('passed', 'all')} tests passed" if reply.ok else reason(reply)
    return Outcome(failed=not reply.ok, msg=msg, data=data)


def instead(outcome: Outcome) -> Outcome:
    """Says that `cargo test` ran where nextest is missing."""
    return replace(outcome, msg=f"{outcome.msg} ({_INSTEAD})")


def with_doctests(before: Outcome, ran: Outcome) -> Outcome:
    """The tests that went well, and the examples of the documentation after them."""
    found = ran.data
    data = {**before.data, "doctests": found["tests"]}
    if ran.failed:
        again = {name: found[name] for name in ("cmd", "rc", "stdout", "stderr", "stdout_lines", "stderr_lines")}
        names = ", ".join(found["failed_tests"])
        msg = f"doctests failed: {names}" if names else ran.msg
        return Outcome(failed=True, msg=msg, data={**data, **again, "failed_tests": found["failed_tests"]})
    data |= {name: data.get(name, 0) + found["passed"] for name in ("passed", "tests")}
    said = f"{before.msg}, and {found['passed']} doctests" if found["passed"] else before.msg
    outcome = replace(before, msg=said, data=data)
    aside = found.get("quarantined")
    return with_quarantine(outcome, aside["tests"], aside["failed_tests"]) if aside else outcome


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
