"""`nextest`: run a workspace's tests, each in a process of its own, and read back what became of every one."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Read, Reply, Step, Steps, Write
from ciflow.modules import cargo_test
from ciflow.modules.cargo import around, cached, environment, missing, selection
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, text, well
from ciflow.modules.test_report import COMMIT, note

if TYPE_CHECKING:
    from ciflow.cargo.junit import JUnitReport
    from ciflow.cargo.metadata import Workspace
    from ciflow.cargo.nextest import Part
    from ciflow.cargo.quarantine import Quarantined

# Line 1: the version of nextest, empty where it is missing. Line 2: the commit. Then the workspace.
_LOOK = f"""
command -v cargo >/dev/null || exit 127
cargo nextest --version 2>/dev/null | head -n 1 | grep . || echo
{COMMIT}
exec cargo metadata --no-deps --format-version=1
"""
# Exit codes of nextest (https://docs.rs/nextest-metadata, NextestExitCode).
_OK, _TESTS_FAILED = 0, 100
_NO_CHOICE = ("archive", "archive_from")


@dataclass(frozen=True, slots=True)
class Look:
    """What is there. `version` of nextest is empty where it is missing."""

    version: str
    commit: str
    workspace: Workspace
    part: str  # in the names of files, for shards may run side by side in one checkout

    @property
    def config(self) -> str:
        return posixpath.join(self.workspace.target_directory, "ciflow", f"nextest{self.part}.toml")

    @property
    def report(self) -> str:
        return f"junit{self.part}.xml"

    def junit(self, profile: str) -> str:
        """Where nextest writes it, also when the tests come from an archive."""
        return posixpath.join(self.workspace.root, "target", "nextest", profile, self.report)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The tests, with a compiler cache around them where that is asked for."""
    if wrong := _wrong(args):
        return Outcome(failed=True, msg=wrong)
    return (yield from around(args, context, _run))


def _run(args: Mapping[str, Any], context: Context) -> Steps:
    def build(env: Mapping[str, str]) -> Steps:
        return _tests({**args, "env": env}, context)

    return (yield from cached(args["cache"], environment(args, context), context, build))


def _wrong(args: Mapping[str, Any]) -> str:
    shard, shards = args["shard"], args["shards"]
    if shard > shards:
        return f"there is no shard {shard} of {shards}"
    if all(args.get(name) for name in _NO_CHOICE):
        return "archive makes an archive and archive_from uses one: say one of them"
    return ""


def _tests(args: Mapping[str, Any], context: Context) -> Steps:
    """Look what is there; nextest, or `cargo test` where it is missing (and the outcome says so); then doctests."""
    look = yield from _look(args, context)
    if isinstance(look, Outcome):
        return look
    if not look.version and (args["shards"] > 1 or any(args.get(name) for name in (*_NO_CHOICE, "filter"))):
        msg = "shards, archives and filters need cargo-nextest, which is not installed on this host"
        return Outcome(failed=True, msg=msg)
    held = () if args.get("archive") else (yield from _held(look))
    if isinstance(held, Outcome):
        return held
    outcome = yield from (_nextest if look.version else _cargo_test)(args, context, look, held)
    late = [one.test for one in held if not one.active(context.now)] if "failures" in outcome.data else []
    said = f"; no longer in quarantine: {', '.join(late)}" if late else ""
    outcome = replace(outcome, msg=outcome.msg + said)
    data = {**outcome.data, "runner": look.version.split(" (")[0] or "cargo test"}
    first = args["shard"] == 1 and not args.get("archive")
    doctested = _doctested(args, look.workspace) if look.version and args["doctests"] and first else ()
    if not doctested or outcome.failed or outcome.skipped:
        return replace(outcome, data=data)
    built = {**args, "package": doctested} if args.get("package") else args
    return (yield from _doctests(built, context, look, held, replace(outcome, data=data)))


def _doctested(args: Mapping[str, Any], workspace: Workspace) -> list[str]:
    """The chosen packages that can have examples in their documentation: cargo refuses to look into others."""
    given = args.get("package") or [member.name for member in workspace.members]
    able = {name for member in workspace.members if member.doctests for name in (member.name, member.id)}
    return [str(name) for name in (given if isinstance(given, list) else [given]) if str(name) in able]


def _look(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Look | Outcome]:
    from ciflow.modules import rust  # only a run that gets here pays for the parsers

    look = Exec(shell=_LOOK.strip() + "\n", cwd=args.get("chdir", ""), env=environment(args, context))
    seen = yield Probe(look)
    if seen.rc == 127:
        return missing("cargo nextest run")
    output = yield from whole_stdout(seen)
    if isinstance(output, Reply) or not well(seen):
        return rust.refused(seen, "cargo metadata", "cargo metadata failed")
    version, commit, described = [*text(output).split("\n", 2), "", ""][:3]
    workspace = rust.workspace(described)
    if isinstance(workspace, str):
        return Outcome(failed=True, msg=workspace)
    part = f"-{args['shard']}-of-{args['shards']}" if args["shards"] > 1 else ""
    return Look(version, commit, workspace, part)


def _nextest(args: Mapping[str, Any], context: Context, look: Look, held: tuple[Quarantined, ...]) -> Steps:
    written = yield from _configured(args, context, look, ())
    if written is not None:
        return written
    if args.get("archive"):
        return (yield from _archived(args, context, look))
    part = yield from _part(args, context, look, held)
    if isinstance(part, Outcome):
        return part
    outcome = yield from _gated(args, context, look, part)
    aside = part.quarantined and not outcome.skipped and "failures" in outcome.data
    return (yield from _aside(args, context, look, part, outcome)) if aside else outcome


def _configured(
    args: Mapping[str, Any], context: Context, look: Look, retried: tuple[str, ...]
) -> Generator[Step, Reply, Outcome | None]:
    """Our profile, for the tests that are to be retried; the workspace's own configuration goes before it."""
    from ciflow.cargo.nextest import Limits, configuration

    if context.check:
        return None
    limits = Limits(args["slow_after"], args["terminate_after"])
    content = configuration(args["profile"], limits, retried, look.report).encode()
    for step in (Mkdir(path=posixpath.dirname(look.config)), Write(path=look.config, content=content)):
        made = yield Change(step)
        if not well(made):
            return failure(made, what=f"{look.config} can't be written")
    return None


def _archived(args: Mapping[str, Any], context: Context, look: Look) -> Steps:
    """The tests built and packed, to be run elsewhere."""
    words = ["archive", "--tool-config-file", f"ciflow:{look.config}", "--archive-file", args["archive"]]
    operation = _program(args, context, ("nextest", *words), tail=_cargo_profile(args))
    reply = yield Change(operation)
    if predicted(reply):
        return Outcome(skipped=True, msg="tests are not built in check mode")
    if not well(reply):
        from ciflow.modules import rust

        return rust.refused(reply, list(operation.argv), "the tests could not be packed")
    data = {**process_data(reply, list(operation.argv)), "archive": args["archive"]}
    return Outcome(changed=True, msg=f"the tests are in {args['archive']}", data=data)


def _held(look: Look) -> Generator[Step, Reply, tuple[Quarantined, ...] | Outcome]:
    """The quarantine as the workspace has it; one that can't be read is an error, for it decides what gates."""
    from ciflow.cargo.errors import ToolOutputError
    from ciflow.cargo.quarantine import FILE, read

    reply = yield Probe(Read(path=posixpath.join(look.workspace.root, FILE)))
    if not well(reply):
        return () if reply.errno == "ENOENT" else failure(reply, what="the quarantine can't be read")
    try:
        return read(text(reply.stdout))
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error))


def _part(
    args: Mapping[str, Any], context: Context, look: Look, held: tuple[Quarantined, ...]
) -> Generator[Step, Reply, Part | Outcome]:
    """Which tests run here; of what there is, as nextest lists it, where tests are named."""
    from ciflow.cargo import nextest, shards
    from ciflow.cargo.errors import ToolOutputError

    active = [one for one in held if one.active(context.now)]
    seconds = {str(test): float(taken) for test, taken in args["seconds"].items()}
    shard, of, user = args["shard"], args["shards"], args.get("filter", "")
    if context.check or not nextest.needs_list(of, seconds, active, args["flaky"]):
        return nextest.Part(user, "", f"slice:{shard}/{of}" if of > 1 else "", ())
    words = ("nextest", "list", "--message-format", "json", "--tool-config-file", f"ciflow:{look.config}")
    operation = _program(args, context, words, tail=[*_profile(args), *(["-E", user] if user else [])])
    reply = yield Change(operation)
    output = yield from whole_stdout(reply)
    if isinstance(output, Reply) or not well(reply):
        from ciflow.modules import rust

        return rust.refused(reply, list(operation.argv), "the tests can't be listed")
    try:
        tests = shards.listed(text(output))
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error))
    part = nextest.part(tests, active, [str(test) for test in args["flaky"]], seconds, shard, of, user)
    written = (yield from _configured(args, context, look, part.retried)) if part.retried else None
    return part if written is None else written


def _gated(args: Mapping[str, Any], context: Context, look: Look, part: Part) -> Steps:
    """The run that decides."""
    from ciflow.modules import rust

    tail = [*_profile(args), *(["--retries", str(args["retries"])] if args["retries"] else [])]
    tail += _partition(part)
    tail += ["--no-tests=pass"] if part.quarantined or args["shards"] > 1 or args["affected"] else []
    ran = yield from _ran(args, context, look, part.gating, tail)
    if isinstance(ran, Outcome):
        return ran
    reply, data = ran
    path = look.junit(args["profile"])
    report = yield from _report(path, look, "")
    return report if isinstance(report, Outcome) else rust.of_nextest(reply, report, path, data)


def _aside(args: Mapping[str, Any], context: Context, look: Look, part: Part, outcome: Outcome) -> Steps:
    """The quarantined tests, after those that decide: what becomes of them is told, and decides nothing."""
    from ciflow.cargo.junit import Verdict
    from ciflow.cargo.nextest import QUARANTINE
    from ciflow.modules import rust

    args = {**args, "profile": QUARANTINE, "fail_fast": False}
    tail = [*_profile(args), *_partition(part), "--no-tests=pass"]
    ran = yield from _ran(args, context, look, part.quarantined, tail)
    if isinstance(ran, Outcome):
        return replace(outcome, msg=f"{outcome.msg}; the quarantined tests could not be run: {ran.msg}")
    report = yield from _report(look.junit(QUARANTINE), look, "quarantine")
    if report is None or isinstance(report, Outcome):
        return replace(outcome, msg=f"{outcome.msg}; nobody can say what became of the quarantined tests")
    bad = [case.id for case in report.having(Verdict.FAILED, Verdict.TIMEOUT)]
    return rust.with_quarantine(outcome, len(report.cases), bad)


def _ran(
    args: Mapping[str, Any], context: Context, look: Look, chosen: str, tail: list[str]
) -> Generator[Step, Reply, tuple[Reply, dict[str, Any]] | Outcome]:
    """One `nextest run`; an outcome where it gives no verdict on tests."""
    from ciflow.modules import rust

    words = ("nextest", "run", "--tool-config-file", f"ciflow:{look.config}")
    tail = [*tail, *(["-E", chosen] if chosen else []), *_not_failing_fast(args)]
    operation = _program(args, context, words, tail=tail)
    reply = yield Change(operation)
    if predicted(reply):
        return Outcome(skipped=True, msg="tests do not run in check mode")
    data = process_data(reply, list(operation.argv))
    if reply.status != "done":
        return failure(reply, data)
    if reply.rc not in (_OK, _TESTS_FAILED):
        return Outcome(failed=True, msg=rust.reason(reply), data=data)
    return reply, data


def _report(path: str, look: Look, part: str) -> Generator[Step, Reply, JUnitReport | Outcome | None]:
    """The JUnit file of a run, which goes into the history of tests as well; None where there is none."""
    from ciflow.cargo import junit
    from ciflow.cargo.errors import ToolOutputError

    read = yield Probe(Read(path=path))
    if not well(read):
        return None
    try:
        report = junit.parse(read.stdout)
    except ToolOutputError as error:
        return Outcome(failed=True, msg=str(error), data={"junit": path})
    yield note(report, look.commit, part)
    return report


def _profile(args: Mapping[str, Any]) -> list[str]:
    return ["--profile", args["profile"], *_cargo_profile(args)]


def _partition(part: Part) -> list[str]:
    return ["--partition", part.partition] if part.partition else []


def _cargo_profile(args: Mapping[str, Any]) -> list[str]:
    return ["--cargo-profile", args["cargo_profile"]] if args.get("cargo_profile") else []


def _program(args: Mapping[str, Any], context: Context, words: tuple[str, ...], tail: list[str]) -> Exec:
    """Tests from an archive are built already: what says how to build is left out."""
    archive = args.get("archive_from")
    chosen = ["--archive-file", archive, "--workspace-remap", "."] if archive else selection({**args, "profile": ""})
    env = environment(args, context)
    return Exec(argv=("cargo", *words, *chosen, *tail), cwd=args.get("chdir", ""), env=env, timeout=context.timeout)


def _cargo_test(args: Mapping[str, Any], context: Context, look: Look, held: tuple[Quarantined, ...]) -> Steps:
    """What `cargo test` can't do, limits of time, is left out; a quarantine holds, and flaky tests are tried again."""
    from ciflow.modules import rust

    return rust.instead((yield from _plain(args, context, look, held)))


def _not_failing_fast(args: Mapping[str, Any]) -> list[str]:
    return [] if args["fail_fast"] else ["--no-fail-fast"]


def _doctests(
    args: Mapping[str, Any], context: Context, look: Look, held: tuple[Quarantined, ...], before: Outcome
) -> Steps:
    """nextest can't run them; they are tests all the same."""
    from ciflow.modules import rust

    built = {**args, "bin": None, "all_targets": False, "archive_from": None}
    ran = yield from _plain(built, context, look, held, "--doc")
    return rust.with_doctests(before, ran) if "tests" in ran.data else replace(ran, data={**before.data, **ran.data})


def _plain(args: Mapping[str, Any], context: Context, look: Look, held: tuple[Quarantined, ...], *words: str) -> Steps:
    from ciflow.cargo.nextest import RETRIES
    from ciflow.modules import rust

    active = {one.test for one in held if one.active(context.now)}
    flaky, tries = {str(test) for test in args["flaky"]}, args["retries"]
    # What would end the run may turn out to decide nothing: then the rest has to have run.
    whole = args["fail_fast"] and not (active or flaky or tries)
    operation = _program(args, context, ("test", *words), _not_failing_fast({"fail_fast": whole}))
    ran = yield from cargo_test.tested(operation, look.commit, active)
    if isinstance(ran, Outcome):
        return ran
    if not ran.reply.ok and (flaky or tries):
        named = set(ran.output.failed) if tries else flaky
        ran = yield from cargo_test.tried_again(operation, look.commit, ran, named, active, tries or RETRIES)
        if isinstance(ran, Outcome):
            return ran
    return rust.tested(ran.reply, ran.output, process_data(ran.reply, ran.cmd), active, ran.recovered)
