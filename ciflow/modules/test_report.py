"""`test_report`: take the JUnit file of any test tool into the history of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ciflow.model import Context, Exec, Note, Outcome, Probe, Read, Steps
from ciflow.modules.replies import failure, text, well

if TYPE_CHECKING:
    from ciflow.cargo.junit import JUnitReport

# Prints the commit, with a digest of what has changed since, or an empty line: tests are only compared on equal code.
COMMIT = """\
commit=$(git rev-parse HEAD 2>/dev/null)
[ -z "$commit" ] || git diff --quiet HEAD || commit=$commit+$(git diff HEAD --no-ext-diff | git hash-object --stdin)
echo "$commit\""""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """It reads only. Whether failed tests are a failure is for who ran them, unless `gate` says so."""
    from ciflow.cargo import junit
    from ciflow.cargo.errors import ToolOutputError
    from ciflow.cargo.junit import Verdict

    path = args["path"]
    read = yield Probe(Read(path=path))
    if not well(read):
        return failure(read, {"path": path}, "there is no report to take")
    try:
        report = junit.parse(read.stdout)
    except ToolOutputError as error:
        return Outcome(failed=True, msg=f"{path}: {error}", data={"path": path})
    look = yield Probe(Exec(shell=COMMIT + "\n", cwd=args.get("chdir", ""), env=context.environment))
    yield note(report, text(look.stdout).strip() if well(look) else "")
    bad = [case.id for case in report.having(Verdict.FAILED, Verdict.TIMEOUT)]
    tests = len(report.cases) - report.count(Verdict.SKIPPED)
    flaky = [case.id for case in report.having(Verdict.FLAKY)]
    data = {"path": path, "tests": tests, "passed": tests - len(bad), "failed_tests": bad, "flaky": flaky}
    said = f"{len(bad)} of {tests} tests failed: {', '.join(bad)}" if bad else f"{tests} tests passed"
    return Outcome(failed=bool(bad) and args["gate"], msg=said, data=data)


def note(report: JUnitReport, commit: str, part: str = "") -> Note:
    """What the history keeps of a report."""
    from ciflow.cargo.history import recorded

    return Note("tests", {"commit": commit, "part": part, "results": recorded(report)})
