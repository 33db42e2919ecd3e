"""What cargo, libtest and nextest wrote on a real machine (`outputs/`), and what a user wants to know of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.cargo import junit, libtest, messages, metadata
from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.junit import Verdict
from ciflow.cargo.messages import Place

OUTPUTS = Path(__file__).parent / "outputs"


def output(name: str) -> str:
    return (OUTPUTS / name).read_text()


# cargo build --message-format=json


def test_the_programs_of_a_build_are_found() -> None:
    report = messages.parse(output("build-shield.jsonl"))
    assert report.success is True
    assert report.executables() == {
        "shield": "/build/sh/debug/shield",
        "shield-server": "/build/sh/debug/shield-server",
    }
    assert report.errors == report.warnings == ()


def test_build_scripts_and_test_harnesses_are_not_delivered() -> None:
    report = messages.parse(output("build-shield-tests.jsonl"))
    assert {a.name for a in report.artifacts} > {"build-script-build"}
    assert {a.name for a in report.files()} == {"shield_core", "shield_http"}
    assert set(report.executables(tests=True)) == {"shield", "shield-server", "shield_core", "shield_http", "server"}


def test_the_first_errors_have_their_place_and_code() -> None:
    report = messages.parse(output("build-errors.jsonl"))
    assert report.success is False
    first, second = report.errors
    assert (first.code, first.text, first.place) == ("E0308", "mismatched types", Place("src/main.rs", 2, 18))
    assert (second.code, second.place) == ("E0425", Place("src/main.rs", 4, 5))
    assert first.rendered.startswith("error[E0308]: mismatched types\n --> src/main.rs:2:18\n")


def test_an_error_of_two_targets_is_told_once() -> None:
    text = output("build-errors.jsonl")
    assert messages.parse(text + text).errors == messages.parse(text).errors


def test_a_build_that_was_killed_is_no_success() -> None:
    lines = output("build-shield.jsonl").splitlines()[:-1]
    assert messages.parse("\n".join(lines)).success is None
    assert messages.parse("").success is None


def test_what_a_program_prints_between_is_kept_apart() -> None:
    text = 'hello\n{"level": "info"}\n{broken\n\n' + output("build-shield.jsonl")
    report = messages.parse(text)
    assert report.other_lines == ("hello", '{"level": "info"}', "{broken")
    assert report.success is True


def test_a_message_without_its_fields_is_refused() -> None:
    with pytest.raises(ToolOutputError, match="compiler-artifact of cargo lacks"):
        messages.parse('{"reason": "compiler-artifact"}')


# cargo test


def test_totals_are_summed_over_all_harnesses() -> None:
    # 2 + 13 + 1 + 6 + 8 unit and integration tests, 4 + 1 doctests
    totals = libtest.parse(output("test-shield.txt"))
    assert (totals.passed, totals.failed, totals.harnesses, totals.ok) == (35, 0, 7, True)


def test_failed_tests_are_named_once() -> None:
    totals = libtest.parse(output("test-failed.txt"))
    assert (totals.passed, totals.failed, totals.ignored) == (2, 2, 1)
    assert totals.failed_names == ("tests::bad", "tests::res")
    assert (totals.seconds, totals.ok) == (0.08, False)


def test_a_harness_that_aborts_is_not_ok() -> None:
    totals = libtest.parse(output("test-aborted.txt"))
    assert (totals.harnesses, totals.unfinished, totals.failed, totals.ok) == (1, 1, 0, False)


def test_no_test_at_all_is_not_ok() -> None:
    assert not libtest.parse("").ok


def test_output_of_a_test_that_looks_like_a_failure_is_not_believed() -> None:
    fake = "running 1 test\ntest forged ... FAILED\n\nfailures:\n    forged\n\ntest real ... ok\n\n"
    totals = libtest.parse(fake + "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; x\n")
    assert (totals.failed_names, totals.ok) == ((), True)


def test_colours_and_doctest_names_are_understood() -> None:
    text = (
        "running 1 test\ntest src/lib.rs - limit::take (line 24) ... \x1b[31mFAILED\x1b[0m\n\nfailures:\n\nfailures:\n"
        "    src/lib.rs - limit::take (line 24)\n\ntest result: \x1b[31mFAILED\x1b[0m. 0 passed; 1 failed; 0 ignored; "
        "0 measured; 0 filtered out; finished in 0.10s\n"
    )
    assert libtest.parse(text).failed_names == ("src/lib.rs - limit::take (line 24)",)


# nextest


def test_every_test_of_nextest_has_its_verdict() -> None:
    report = junit.parse((OUTPUTS / "nextest.xml").read_bytes())
    assert {case.name: case.verdict for case in report.cases} == {
        "tests::broken": Verdict.FAILED,
        "tests::aborts": Verdict.FAILED,
        "tests::flaky": Verdict.FLAKY,
        "tests::steady": Verdict.PASSED,
        "tests::hangs": Verdict.TIMEOUT,
    }
    assert (report.count(Verdict.FAILED), report.seconds, report.ok) == (2, 2.020, False)


def test_every_attempt_is_kept_in_order() -> None:
    cases = {c.name: c for c in junit.parse((OUTPUTS / "nextest.xml").read_bytes()).cases}
    assert [(a.verdict, a.seconds) for a in cases["tests::flaky"].attempts] == [
        (Verdict.FAILED, 0.005),
        (Verdict.PASSED, 0.004),
    ]
    assert [a.verdict for a in cases["tests::hangs"].attempts] == [Verdict.TIMEOUT, Verdict.TIMEOUT]
    assert cases["tests::aborts"].attempts[0].message == "process aborted with signal 6 (SIGABRT)"
    assert cases["tests::broken"].id == "nx tests::broken"
    assert "said <this> & that" in cases["tests::broken"].output


def test_the_junit_of_pytest_reads_the_same() -> None:
    text = b"""<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" time="0.5"><testcase
      classname="t.test_a" name="test_1" time="0.1"/><testcase classname="t.test_a" name="test_2" time="0.2"><failure
      message="assert 0">trace</failure></testcase><testcase classname="t" name="test_3"><error message="fixture"/>
      </testcase><testcase classname="t" name="test_4"><skipped message="no cargo"/></testcase></testsuite>
      </testsuites>"""
    report = junit.parse(text)
    assert [c.verdict.value for c in report.cases] == ["passed", "failed", "failed", "skipped"]
    assert report.cases[3].attempts[0].message == "no cargo"


@pytest.mark.parametrize(
    "text",
    [
        b'<!DOCTYPE x [<!ENTITY a "b">]><testsuites>&a;</testsuites>',
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><testsuites name="&b;"/>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuites/>',
        b"<!DOCTYPE testsuites><testsuites/>",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><testsuites/>'.encode("utf-16"),
    ],
)
def test_document_types_are_refused_before_anything_is_expanded(text: bytes) -> None:
    with pytest.raises(ToolOutputError, match="document type"):
        junit.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<testsuites>",
        b"<html/>",
        b"<testsuites>&undefined;</testsuites>",
        b"<testsuites/><testsuites/>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><testsuites/>',
        b'<testsuites time="soon"/>',
    ],
)
def test_what_is_no_junit_is_refused(text: bytes) -> None:
    with pytest.raises(ToolOutputError):
        junit.parse(text)


# cargo metadata


def test_members_and_their_binaries_are_known() -> None:
    workspace = metadata.parse(output("metadata-shield.json"))
    assert [m.name for m in workspace.members] == ["shield-cli", "shield-core", "shield-http", "shield-server"]
    assert workspace.bins == {"shield": "shield-cli", "shield-server": "shield-server"}
    server, http = workspace.member("shield-server"), workspace.member("shield-http")
    assert (server.directory, server.build_script, server.libs, server.version) == ("shield-server", True, (), "1.0.0")
    assert (http.libs, http.tests, http.doctests, http.default) == (("shield_http",), ("server",), True, True)


def test_a_binary_lies_where_cargo_puts_it() -> None:
    workspace = metadata.parse(output("metadata-shield.json"))
    assert workspace.binary_path("shield") == "/build/shield/target/release/shield"
    assert workspace.binary_path("shield", "dev") == "/build/shield/target/debug/shield"
    musl = "x86_64-unknown-linux-musl"
    assert workspace.binary_path("shield", "tiny", musl) == f"/build/shield/target/{musl}/tiny/shield"


def test_an_unknown_package_is_named_with_the_known_ones() -> None:
    with pytest.raises(ToolOutputError, match="no package shield; it has shield-cli, shield-core"):
        metadata.parse(output("metadata-shield.json")).member("shield")


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1}', '{"version": 1, "workspace_root": 5}'])
def test_what_is_no_metadata_is_refused(text: str) -> None:
    with pytest.raises(ToolOutputError):
        metadata.parse(text)
