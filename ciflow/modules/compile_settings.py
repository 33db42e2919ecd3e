"""`compile_settings`: try other settings of the compiler on a workspace, and propose those that pay there."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Exec, Outcome, Probe, Remove, Reply, Step, Steps
from ciflow.modules import affected, checkout, sccache
from ciflow.modules.replies import failure, predicted, process_data, text, well

if TYPE_CHECKING:
    from ciflow.cargo.graph import Graph
    from ciflow.cargo.settings import Setting, Taken

# Line 1: the platform that rustc builds for. Then the linkers there are.
_LOOK = """
rustc -vV | sed -n 's/^host: //p'
for linker in mold wild ld.lld; do command -v $linker >/dev/null && echo $linker; done
:
"""


@dataclass(frozen=True)
class Trial:
    """How a build is tried: the words of cargo, the environment, where, and the file that is touched in between."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    folder: str
    target: str
    edited: str
    rounds: int
    timeout: float

    def cargo(self, setting: Setting, target: str) -> Exec:
        options = tuple(word for line in setting.config for word in ("--config", line))
        env = {**self.env, "CARGO_TARGET_DIR": target}
        return Exec(argv=("cargo", *options, *self.words), cwd=self.folder, env=env, timeout=self.timeout)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Each setting in a target folder of its own, which is removed again; the project stays as it is."""
    from ciflow.cargo import settings

    begun = yield from _begun(args, context)
    if isinstance(begun, Outcome):
        return begun
    trial, tried = begun
    if context.check:
        return Outcome(skipped=True, msg=f"{len(tried) + 1} ways to compile are not tried in check mode")
    measured: dict[str, Taken] = {}
    for one in (settings.Setting(settings.AS_IT_IS), *tried):
        taken = yield from _taken(trial, one)
        if isinstance(taken, Outcome) and one.name == settings.AS_IT_IS:
            return taken
        if not isinstance(taken, Outcome):
            measured[one.name] = taken
    last = yield from _taken(trial, settings.Setting(settings.AS_IT_IS))
    first = measured[settings.AS_IT_IS]
    noise = 0.0 if isinstance(last, Outcome) else settings.noise(last, first)
    measured[settings.AS_IT_IS] = first if isinstance(last, Outcome) else settings.least(first, last)
    chosen = settings.paying(measured, tried, max(settings.WORTH, noise))
    if len(chosen) > 1:
        whole = yield from _taken(trial, settings.together(chosen))
        measured |= {} if isinstance(whole, Outcome) else {settings.TOGETHER: whole}
    cached = yield from _cached(args, context, trial)
    return _told(measured | cached, chosen, noise)


def _begun(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, tuple[Trial, list[Setting]] | Outcome]:
    from ciflow.cargo import settings

    ask = affected.ask(args, context)
    found = yield from checkout.workspace(ask)
    if isinstance(found, Outcome):
        return found
    graph, _ = found
    look = yield Probe(ask.shell(_LOOK))
    triple, *linkers = [*text(look.stdout).split(), ""] if well(look) else [""]
    if not triple:
        return failure(look, process_data(look, "rustc -vV"), "rustc doesn't say what it builds for")
    profile = "release" if args["release"] else "dev"
    tried = settings.candidates(args["settings"], profile, triple, linkers)
    words = (args["command"], "--workspace", *(("--no-run",) if args["command"] == "test" else ()))
    words += (*(("--release",) if args["release"] else ()), *(("--offline",) if args["offline"] else ()), "--quiet")
    target = posixpath.join(graph.build_directory, "ciflow", "measure")
    edited = _most_needed(graph)
    return Trial(words, ask.env, ask.folder, target, edited, args["rounds"], context.timeout), tried


def _most_needed(graph: Graph) -> str:
    """The first file of the member that most others need: an edit there is the slowest usual one."""
    from ciflow.cargo.graph import reach

    chosen = max(graph.members, key=lambda crate: (len(reach([crate.id], graph.users)), crate.name))
    return next((path for path in chosen.roots if path != chosen.script), chosen.script)


def _taken(trial: Trial, setting: Setting) -> Generator[Step, Reply, Taken | Outcome]:
    """From nothing once, then after an edit as often as there are rounds, of which the quickest counts."""
    from ciflow.cargo.settings import Taken

    target = posixpath.join(trial.target, setting.name.replace(" ", "-"))
    yield Change(Remove(path=target))
    times: list[float] = []
    bad: Outcome | None = None
    for number in range(trial.rounds + 1):
        if number:
            yield Change(Exec(argv=("touch", "-c", trial.edited)))
        reply = yield Change(trial.cargo(setting, target))
        if predicted(reply) or not well(reply):
            cmd = list(trial.cargo(setting, target).argv)
            bad = failure(reply, process_data(reply, cmd), f"a build ({setting.name}) failed")
            break
        times.append(reply.duration)
    yield Change(Remove(path=target))
    return bad or Taken(round(times[0], 2), round(min(times[1:]), 2))


def _cached(args: Mapping[str, Any], context: Context, trial: Trial) -> Generator[Step, Reply, dict[str, Taken]]:
    """The same out of a cache of compiled crates, which a build before has filled."""
    from ciflow.cargo.settings import Setting

    if args["cache"] == "none":
        return {}
    found = yield from sccache.around(args["cache"], trial.env, context)
    if isinstance(found, str):
        return {}
    within = replace(trial, env={**trial.env, **found.env})
    yield from _taken(within, Setting("out of the cache"))
    taken = yield from _taken(within, Setting("out of the cache"))
    yield from sccache.closed(found, trial.env)
    return {} if isinstance(taken, Outcome) else {"out of the cache": taken}


def _told(measured: Mapping[str, Taken], chosen: list[Setting], noise: float) -> Outcome:
    from ciflow.cargo import settings

    base = measured[settings.AS_IT_IS]
    lines = [settings.row(name, taken, base) for name, taken in measured.items()]
    data = {
        "measured": {name: {"whole": taken.whole, "again": taken.again} for name, taken in measured.items()},
        "table": lines,
        "proposed": settings.config(chosen),
        "noise": round(noise, 3),
    }
    names = ", ".join(one.name for one in chosen)
    said = f"worth it here: {names}" if chosen else "no setting that was tried saves enough here"
    said += f" (the same build differed by {noise:.0%})"
    return Outcome(msg=said, data=data)
