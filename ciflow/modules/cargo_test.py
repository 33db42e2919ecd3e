"""`cargo test`, as the verbs `cargo` and `nextest` run it: what became of every test goes into their history."""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.model import Change, Exec, Outcome, Probe, Reply, Step
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
    """`reply` is that of `cmd`, with what cargo said before the tests as standard error and all else as output."""

    cmd: list[str]
    reply: Reply
    output: Output


def tested(operation: Exec, commit: str, held: Collection[str] = ()) -> Generator[Step, Reply, Tested | Outcome]:
    """Run it; an outcome where it gives no verdict on tests. Those `held` in quarantine are told apart."""
    from ciflow.cargo import harnesses
    from ciflow.cargo.errors import ToolOutputError
    from ciflow.cargo.junit import JUnitReport

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
    for part in ("", "quarantine"):
        cases = tuple(case for case in output.report.cases if (case.id in held) == bool(part))
        if cases:
            yield note(JUnitReport(cases, 0.0), commit, part)
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
