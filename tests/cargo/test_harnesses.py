"""`cargo test` writes for people: whatever tests print between, no test gets a verdict that is not its own."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ciflow.cargo import harnesses
from ciflow.cargo.junit import Verdict

WORDS = {"ok": Verdict.PASSED, "FAILED": Verdict.FAILED, "ignored": Verdict.SKIPPED, "ignored, slow": Verdict.SKIPPED}
paths = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), min_size=1, max_size=3).map("::".join)
programs = st.lists(
    st.dictionaries(paths, st.sampled_from(sorted(WORDS)), max_size=5), min_size=1, max_size=4
)  # what became of each test, for each program
# Lines that tests print, some of which look like what libtest or cargo writes.
noise = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    st.tuples(paths, st.sampled_from(sorted(WORDS))).map(lambda one: f"test {one[0]} ... {one[1]}"),
    st.sampled_from(
        [
            "running 1 test",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Running unittests src/lib.rs (target/debug/deps/other-0123456789abcdef)",
            "   Doc-tests other",
            '{"reason":"compiler-artifact"}',
            '{"reason":"build-finished","success":true}',
        ]
    ),
)


def printed(number: int, tests: dict[str, str], between: list[str]) -> str:
    """What cargo and libtest write of one program, with `between` in the midst of it."""
    lines = [f"test {name} ... {word}" for name, word in tests.items()]
    lines[len(lines) // 2 : len(lines) // 2] = between
    words = list(tests.values())
    failed = [name for name, word in tests.items() if word == "FAILED"]
    ignored = sum(word.startswith("ignored") for word in words)
    listed = "failures:\n\nfailures:\n" + "".join(f"    {name}\n" for name in failed) + "\n" if failed else ""
    return (
        f"     Running tests/part{number}.rs (target/debug/deps/part{number}-{number:016x})\n\n"
        f"running {len(tests)} test{'s' * (len(tests) != 1)}\n"
        + "".join(f"{line}\n" for line in lines)
        + f"\n{listed}test result: {'FAILED' if failed else 'ok'}. {words.count('ok')} passed; {len(failed)} failed; "
        f"{ignored} ignored; 0 measured; 0 filtered out; finished in 0.01s\n\n"
        + (f"error: test failed, to rerun pass `--test part{number}`\n" if failed else "")
    )


def test_what_is_written_behind_a_name_hides_no_verdict() -> None:
    """One thread of tests: libtest writes the name first, and what a child of the test writes follows it."""
    text = built(1) + printed(0, {"a": "ok", "b": "FAILED"}, []).replace("... ok", "... hello\nok")
    found = {case.id: case.verdict for case in harnesses.parse(text).report.cases}
    assert found == {"shop::part0 a": Verdict.PASSED, "shop::part0 b": Verdict.FAILED}


def built(count: int) -> str:
    """cargo's messages of `count` integration tests, by the Cargo book, "External tools"."""
    one = {"reason": "compiler-artifact", "package_id": "path+file:///w#shop@1.0.0", "filenames": [], "fresh": True,
           "profile": {"test": True}, "features": []}  # fmt: skip
    lines = [
        {**one, "target": {"name": f"part{n}", "kind": ["test"]},
         "executable": f"/w/target/debug/deps/part{n}-{n:016x}"} for n in range(count)
    ]  # fmt: skip
    lines.append({"reason": "build-finished", "success": True})
    return "   Compiling shop v1.0.0 (/w)\n" + "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


@given(programs)
def test_every_test_has_the_verdict_that_libtest_printed(made: list[dict[str, str]]) -> None:
    text = built(len(made)) + "".join(printed(n, tests, []) for n, tests in enumerate(made))
    output = harnesses.parse(text)
    wanted = {f"shop::part{n} {name}": WORDS[word] for n, tests in enumerate(made) for name, word in tests.items()}
    assert {case.id: case.verdict for case in output.report.cases} == wanted
    assert sorted(output.failed) == sorted(id for id, verdict in wanted.items() if verdict is Verdict.FAILED)
    assert (output.untold, output.compiling) == ((), "   Compiling shop v1.0.0 (/w)")
    assert output.failures == sum("FAILED" in tests.values() for tests in made)


@given(programs, st.lists(noise, max_size=4))
def test_what_tests_print_between_changes_no_verdict(made: list[dict[str, str]], between: list[str]) -> None:
    """A program is told rightly or, where it can't be, not at all; the others are told whatever it prints."""
    text = built(len(made)) + "".join(printed(n, tests, between if n == 0 else []) for n, tests in enumerate(made))
    output = harnesses.parse(text)
    wanted = {f"shop::part{n} {name}": WORDS[word] for n, tests in enumerate(made) for name, word in tests.items()}
    found = {case.id: case.verdict for case in output.report.cases}
    untold = {id for id in wanted if id.startswith("shop::part0 ")} if output.untold else set()
    assert output.untold in ((), ("shop::part0",))
    assert found == {id: verdict for id, verdict in wanted.items() if id not in untold}
