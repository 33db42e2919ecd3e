"""JUnit as cargo-nextest writes it: every attempt of every test.

Format: https://nexte.st/docs/machine-readable/junit/, which follows the JUnit of Maven Surefire: a test that passed on
retry carries `<flakyFailure>` for each failed attempt, one that never passed `<failure>` for its first attempt
and `<rerunFailure>` for the others. JUnit of pytest and others reads the same, without retries.

The file comes from a build, which may run code of strangers: document types and entities are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

from ciflow.cargo.errors import ToolOutputError
from ciflow.dataclass import dataclass

EXAMPLES = "::doc"  # behind the package: the suite of its examples, which are no tests to nextest


class Verdict(Enum):
    """What became of a test, or of one attempt. A flaky test failed first and passed on retry."""

    PASSED = "passed"
    FAILED = "failed"
    FLAKY = "flaky"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"

    @property
    def good(self) -> bool:
        return self in (Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED)


@dataclass(frozen=True)
class Attempt:
    """One run of a test; `message` is the first line of its failure."""

    verdict: Verdict
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class TestCase:
    """`suite` is nextest's binary id (`shield-http::server`), `name` the test's path in it."""

    __test__ = False

    suite: str
    name: str
    verdict: Verdict
    attempts: tuple[Attempt, ...]
    output: str = ""

    @property
    def id(self) -> str:
        return f"{self.suite} {self.name}".strip()

    @property
    def seconds(self) -> float:
        """All attempts together."""
        return sum(attempt.seconds for attempt in self.attempts)

    @property
    def is_example(self) -> bool:
        """Of a documentation."""
        return self.suite.endswith(EXAMPLES)

    def then(self, later: TestCase) -> TestCase:
        """The same test, tried again."""
        attempts = self.attempts + later.attempts
        return TestCase(self.suite, self.name, _verdict(attempts), attempts, later.output)


@dataclass(frozen=True)
class JUnitReport:
    """A whole file; `seconds` is wall time where the file has it."""

    cases: tuple[TestCase, ...]
    seconds: float

    def count(self, verdict: Verdict) -> int:
        return len(self.having(verdict))

    def having(self, *verdicts: Verdict) -> tuple[TestCase, ...]:
        return tuple(case for case in self.cases if case.verdict in verdicts)

    @property
    def ok(self) -> bool:
        """Something was run, and all of it is good in the end."""
        return bool(self.cases) and all(case.verdict.good for case in self.cases)


def parse(data: bytes) -> JUnitReport:
    """Read a JUnit file.

    Raises:
        ToolOutputError: not XML, not JUnit, or with a document type or entities.
    """
    root = _tree(data)
    if root.tag not in ("testsuites", "testsuite"):
        raise ToolOutputError(f"not a JUnit file: it begins with <{root.tag}>")
    cases = tuple(_case(suite, case) for suite in root.iter("testsuite") for case in suite.findall("testcase"))
    return JUnitReport(cases, _seconds(root))


def _tree(data: bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ParseError, AssertionError, LookupError) as e:
        raise ToolOutputError(f"the JUnit file is not XML: {e}") from e


def _refuse_doctype(name: str, *_rest: object) -> None:
    raise ToolOutputError(f"the JUnit file declares a document type ({name}): refused, it may hide entities")


def _case(suite: Element, case: Element) -> TestCase:
    attempts = tuple(_attempts(case))
    return TestCase(
        suite=case.get("classname") or suite.get("name") or "",
        name=case.get("name") or "",
        verdict=_verdict(attempts),
        attempts=attempts,
        output="".join(case.findtext(tag) or "" for tag in ("system-out", "system-err")),
    )


def _attempts(case: Element) -> Iterator[Attempt]:
    """In the order they ran: of a flaky test the last one is the case itself, of a failed one the first."""
    for flaky in case.findall("flakyFailure") + case.findall("flakyError"):
        yield _failure(flaky, _seconds(flaky))
    failed = [child for child in case if child.tag in ("failure", "error")]
    if failed:
        yield _failure(failed[0], _seconds(case))
    elif (skipped := case.find("skipped")) is not None:
        yield Attempt(Verdict.SKIPPED, _seconds(case), skipped.get("message", ""))
    else:
        yield Attempt(Verdict.PASSED, _seconds(case))
    for rerun in case.findall("rerunFailure") + case.findall("rerunError"):
        yield _failure(rerun, _seconds(rerun))


def _failure(element: Element, seconds: float) -> Attempt:
    text = element.get("message") or (element.text or "").strip() or element.get("type") or ""
    timeout = element.get("type") == "test timeout"
    return Attempt(Verdict.TIMEOUT if timeout else Verdict.FAILED, seconds, text.split("\n", 1)[0])


def _verdict(attempts: tuple[Attempt, ...]) -> Verdict:
    last = attempts[-1].verdict
    return Verdict.FLAKY if last is Verdict.PASSED and len(attempts) > 1 else last


def _seconds(element: Element) -> float:
    text = element.get("time") or "0"
    try:
        return float(text)
    except ValueError as e:
        raise ToolOutputError(f"the JUnit file has a time that is no number: {text!r}") from e
