"""`cargo test`, as the verbs `cargo` and `nextest` run it: what became of every test goes into their history."""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.model import Change, Exec, Hold, Outcome, Probe, Reply, Step
from ciflow.modules.cargo import missing
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, text, well
from ciflow.modules.test_report import COMMIT, note

if TYPE_CHECKING:
    from ciflow.cargo.harnesses import Output

_NOT_FOUND = 127
# Both outputs in the order of writing: headings are on one, tests on the other.
_TOGETHER = ("/bin/sh", "-c", f'command -v "$1" >/dev/null || exit {_NOT_FOUND}\nexec "$@" 2>&1\n', "sh")


@dataclass(frozen=True, slots=True)
class Tested:
    """`reply` is that of `cmd`, with what cargo said before the tests as standard error and all else as output;
    `recovered` are the tests, by id, that passed when they were tried again."""

    cmd: list[str]
    reply: Reply
    output: Output
    recovered: tuple[str, ...] = ()


def tested(operation: Exec, commit: str, held: Collection[str] = ()) -> Generator[Step, Reply, Tested | Outcome]:
    """Run it; an outcome where it gives no verdict on tests. Those `held` in quarantine are told apart."""
    from ciflow.cargo.junit import JUnitReport

    ran = yield from _ran(operation)
    if isinstance(ran, Outcome):
        return ran
    for part in ("", "quarantine"):
        cases = tuple(case for case in ran.output.report.cases if (case.id in held) == bool(part))
        if cases:
            yield note(JUnitReport(cases, 0.0), commit, part)
    return ran


def tried_again(
    operation: Exec, commit: str, ran: Tested, flaky: Collection[str], held: Collection[str], tries: int
) -> Generator[Step, Reply, Tested | Outcome]:
    """The tests that failed, each time by themselves and after a longer pause, where all of them are `flaky` or `held`:
    if anything else failed, they decide nothing. Examples are not, which can't be chosen by name. The history gets
    every attempt: what it is told twice of a task's test, it takes as it was told last (`ciflow/cargo/history.py`)."""
    from ciflow.cargo.junit import JUnitReport, Verdict

    failed = {case.id: case for case in ran.output.report.having(Verdict.FAILED) if case.id not in held}
    if not ran.output.only_failed({*held, *flaky}) or any(case.is_example for case in failed.values()):
        return ran
    left = set(failed)
    for number in range(tries if left else 0):
        yield Hold(2.0**number, why=f"flaky tests that failed are tried again: {', '.join(sorted(left))}")
        names = sorted({ran.output.failed[id].partition(" ")[2] for id in left})
        again = yield from _ran(replace(operation, argv=(*operation.argv, "--", "--exact", *names)))
        if isinstance(again, Outcome):
            return again
        for case in again.output.report.cases:
            if case.id in left:
                failed[case.id] = failed[case.id].then(case)
        left = {id for id in left if not failed[id].verdict.good}
        if not left:
            break
    if failed:
        yield note(JUnitReport(tuple(failed.values()), 0.0), commit)
    return replace(ran, recovered=tuple(sorted(failed.keys() - left)))


def _ran(operation: Exec) -> Generator[Step, Reply, Tested | Outcome]:
    from ciflow.cargo import harnesses
    from ciflow.cargo.errors import ToolOutputError

    cmd = _telling(operation.argv)
    reply = yield Change(replace(operation, argv=(*_TOGETHER, *cmd)))
    if predicted(reply):
        return Outcome(skipped=True, msg="tests do not run in check mode", data={"cmd": cmd})
    if reply.rc == _NOT_FOUND and not reply.stdout and not reply.error:
        return missing(cmd)
    whole = yield from whole_stdout(reply)
    if isinstance(whole, Reply) or reply.status != "done":
        return failure(reply if isinstance(whole, bytes) else whole, process_data(reply, cmd))
    try:
        output = harnesses.parse(text(whole))
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error), data=process_data(reply, cmd))
    if not reply.truncated:
        reply = replace(reply, stdout=output.tests.encode(), stderr=output.compiling.encode())
    return Tested(cmd, reply, output)


def commit(operation: Exec) -> Generator[Step, Reply, str]:
    """Of the checkout that it works in; empty where there is none."""
    look = yield Probe(Exec(shell=COMMIT + "\n", cwd=operation.cwd, env=operation.env))
    return text(look.stdout).strip() if well(look) else ""


def _telling(argv: tuple[str, ...]) -> list[str]:
    """The command with cargo's messages for programs, unless it asks for some itself."""
    from ciflow.cargo.harnesses import FORMAT

    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    if any(word.startswith("--message-format") for word in words[:end]):
        return words
    return [*words[:end], FORMAT, *words[end:]]
