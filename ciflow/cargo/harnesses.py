"""What became of each test under `cargo test`, whose output on stable is made for people.

Taken together, in the order of writing, standard error has cargo's heading of each program of tests, and standard
output the lines of libtest below it; `--message-format=json-render-diagnostics` says which target of which package the
program is. Tests are named as nextest names them, so that both have one history.

Tests may print between. So the lines of a program are believed only where they agree with what libtest says it runs and
with its totals; of a program that disagrees, or was ended in the middle, nothing is told.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from ciflow.cargo import libtest, messages
from ciflow.cargo.junit import EXAMPLES, Attempt, JUnitReport, TestCase, Verdict
from ciflow.cargo.messages import Artifact, BuildReport
from ciflow.dataclass import dataclass

FORMAT = "--message-format=json-render-diagnostics"
_BUILT = re.compile(r'^\{"reason":"build-finished",.*\n?', re.MULTILINE)
_HEADING = re.compile(r"^ +(?:Running \S.* \(([^()\n]+)\)|Doc-tests (\S+))$", re.MULTILINE)
# The name is written at once; what others print may come between it and the verdict. So failures are taken from the
# list at the end, and where it tore the line of an ignored test, the totals don't agree.
_LINE = re.compile(r"^test (\S.*?)(?: - should panic| - compile(?: fail)?)? \.\.\. (ignored)?", re.MULTILINE)
_FAILED = re.compile(r"^error: (?:doc)?test failed, to rerun pass", re.MULTILINE)
_EXAMPLE = re.compile(r"(.+) \(line (\d+)\)")
_LIBRARIES = {"lib", "rlib", "dylib", "cdylib", "staticlib", "proc-macro"}


@dataclass(frozen=True)
class Output:
    """Both outputs of `cargo test`, taken apart again. `compiling` is what cargo and rustc said before the tests;
    `failed` has how libtest calls what failed, with the line of an example, by id; `failures` counts the programs that
    failed, by whatever it was; `untold` has those whose tests are not in the report."""

    compiling: str
    tests: str
    report: JUnitReport
    failed: Mapping[str, str]
    failures: int
    untold: tuple[str, ...] = ()

    def only_failed(self, held: Collection[str]) -> bool:
        """Whether tests failed, and nothing did but some of these, by their ids."""
        bad = self.report.having(Verdict.FAILED)
        known = bool(bad) and not self.untold and self.failures == len({case.suite for case in bad})
        return known and all(case.id in held for case in bad)


def parse(text: str) -> Output:
    """Read both outputs of `cargo test` with FORMAT, in the order of writing.

    Raises:
        ToolOutputError: a message of cargo lacks a field that the format promises.
    """
    text = libtest.plain(text)
    built = _BUILT.search(text)
    if built is None:  # nothing was built, or cargo was told to say it otherwise
        totals = libtest.parse(text)
        said = ("", text) if totals.harnesses else (text, "")
        failed = {name: name for name in totals.failed_names}
        return Output(*said, JUnitReport((), 0.0), failed, len(_FAILED.findall(text)))
    build = messages.parse(text[: built.end()])
    tests = text[built.end() :]
    programs = [_Program(suite, section) for suite, section in _sections(tests, _suites(build))]
    return Output(
        "\n".join(build.other_lines),
        tests,
        JUnitReport(tuple(case for one in programs for case in one.cases or ()), libtest.parse(tests).seconds),
        {id: name for one in programs for id, name in one.failed.items()},
        len(_FAILED.findall(tests)),
        tuple(one.suite for one in programs if one.cases is None),
    )


def _suites(build: BuildReport) -> dict[str, str]:
    """Suite by what a heading calls it: the file of a program of tests (its name has a hash of all that it is made of),
    or the name of a library. A library's name that two packages share tells nothing."""
    programs = [one for one in build.artifacts if one.test and one.executable]
    found = {posixpath.basename(str(one.executable)): _binary_id(one) for one in programs}
    libraries: dict[str, set[str]] = {}
    for one in build.artifacts:
        if not one.test and _LIBRARIES.intersection(one.kinds):
            libraries.setdefault(one.name, set()).add(_package(one.package_id) + EXAMPLES)
    return found | {name: suites.pop() for name, suites in libraries.items() if len(suites) == 1}


def _binary_id(artifact: Artifact) -> str:
    """As nextest has it (https://nexte.st/docs/glossary/#binary-id)."""
    package, kind = _package(artifact.package_id), artifact.kinds[0]
    if kind in _LIBRARIES:
        return package
    return f"{package}::{artifact.name}" if kind == "test" else f"{package}::{kind}/{artifact.name}"


def _package(id: str) -> str:
    """The name in a package id (the Cargo book, "Package ID Specifications"): the folder's, unless it says another."""
    where, _, said = id.partition("#")
    name, at, _ = said.rpartition("@")
    return name if at else posixpath.basename(where.partition("?")[0])


def _sections(text: str, suites: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What each program of this build wrote. Headings of others are a test's, which runs cargo itself."""
    headings = [(found, posixpath.basename(found[1] or found[2])) for found in _HEADING.finditer(text)]
    known = [(found, suites[name]) for found, name in headings if name in suites]
    ends = [found.start() for found, _ in known[1:]] + [len(text)]
    for (found, suite), end in zip(known, ends, strict=True):
        yield suite, text[found.end() : end]


class _Program:
    """What one wrote. `cases` is None where its lines don't agree with its totals; without libtest it has neither."""

    def __init__(self, suite: str, section: str) -> None:
        self.suite = suite
        totals = libtest.parse(section)
        lines = dict.fromkeys(_LINE.findall(section))  # each once, in the order of writing
        ignored = {name for name, word in lines if word}
        failed = set(totals.failed_names)
        examples = suite.endswith(EXAMPLES)
        names = _without_lines(name for name, _ in lines) if examples else {name: name for name, _ in lines}
        told = (len(failed & names.keys()), len(ignored)) == (totals.failed, totals.ignored)
        told = told and len(names) == len(lines) == totals.announced and not totals.unfinished
        told = told and totals.passed == len(names) - len(ignored) - len(failed)
        told = told and (examples or totals.harnesses <= 1)  # examples may be built as several programs
        self.cases = tuple(_case(suite, names[one], one in ignored, one in failed) for one in names) if told else None
        self.failed = {f"{suite} {names.get(name, name)}": f"{suite} {name}" for name in totals.failed_names}


def _case(suite: str, name: str, ignored: bool, failed: bool) -> TestCase:
    verdict = Verdict.SKIPPED if ignored else Verdict.FAILED if failed else Verdict.PASSED
    return TestCase(suite, name, verdict, (Attempt(verdict, 0.0),))


def _without_lines(names: Iterable[str]) -> dict[str, str]:
    """Of examples: the nth of its item instead of its line, which is another whenever something above it changes."""
    places: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        found = _EXAMPLE.fullmatch(name)
        places.setdefault(found[1] if found else name, []).append((int(found[2]) if found else 0, name))
    return {
        name: f"{item} ({number})" if number > 1 else item
        for item, some in places.items()
        for number, (_, name) in enumerate(sorted(some), 1)
    }
