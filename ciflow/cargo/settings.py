"""How else a workspace may be compiled, and which of that pays here: judged by what was measured, by nothing else.

Keys are those of the Cargo book, "Profiles" and "Configuration"; each is one `--config` of cargo, so that nothing of
the project is changed to try it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ciflow.dataclass import dataclass

LINKERS = {"mold": "mold", "wild": "wild", "ld.lld": "lld"}  # by program, as `-fuse-ld` calls them
WORTH = 0.10  # of the time, at least
AS_IT_IS = "as it is"
TOGETHER = "together"


@dataclass(frozen=True)
class Setting:
    """One thing to try. `config` are lines of .cargo/config.toml; `price` is what one gives up for it."""

    name: str
    config: tuple[str, ...] = ()
    price: str = ""


@dataclass(frozen=True)
class Taken:
    """Seconds of a build from nothing, and of one after an edit in the crate that most others need."""

    whole: float
    again: float


def candidates(kinds: Sequence[str], profile: str, triple: str, linkers: Sequence[str]) -> list[Setting]:
    """What can be tried for these kinds: linker, debug, split-debuginfo, incremental, codegen-units."""
    base = f"profile.{profile}"
    release = profile == "release"
    known = {
        "linker": [
            Setting(f"linker {one}", (f'target.{triple}.rustflags = ["-Clink-arg=-fuse-ld={LINKERS[one]}"]',))
            for one in LINKERS if one in linkers
        ],
        "debug": [] if release else [
            Setting("line tables only", (f'{base}.debug = "line-tables-only"',), "debuggers show no variables"),
            Setting("no debug information", (f"{base}.debug = 0",), "no debugger, and backtraces without lines"),
        ],
        "split-debuginfo": [] if release else [
            Setting("split debug information", (f'{base}.split-debuginfo = "unpacked"',), "its files lie beside"),
        ],
        "incremental": [
            Setting(f"incremental {word}", (f"{base}.incremental = {word}",)) for word in ("false", "true")
            if (word == "true") == release
        ],
        "codegen-units": [
            Setting(f"{count} codegen units", (f"{base}.codegen-units = {count}",), price)
            for count, price in (((1, ""), (256, "slower programs")) if release else ((16, ""),))
        ],
    }  # fmt: skip
    return [one for kind in kinds for one in known[kind]]


def noise(one: Taken, other: Taken) -> float:
    """By how much two measurements of the same differ: no smaller saving is one."""
    return max(abs(1 - a / b) for a, b in _pairs(one, other))


def least(one: Taken, other: Taken) -> Taken:
    return Taken(min(one.whole, other.whole), min(one.again, other.again))


def paying(measured: Mapping[str, Taken], tried: Sequence[Setting], worth: float = WORTH) -> list[Setting]:
    """Those that save that share of either time and cost no tenth of the other; of one key the best."""
    base = measured[AS_IT_IS]
    best: dict[str, tuple[float, Setting]] = {}
    for one in tried:
        if one.name not in measured:
            continue
        saved = [1 - ours / theirs for ours, theirs in _pairs(measured[one.name], base)]
        if max(saved) < worth or min(saved) <= -WORTH:
            continue
        key = one.config[0].partition(" = ")[0]
        if key not in best or sum(saved) > best[key][0]:
            best[key] = (sum(saved), one)
    return [one for _, one in best.values()]


def together(settings: Sequence[Setting]) -> Setting:
    """Several as one, to be measured as one: what each saves alone does not add up."""
    return Setting(TOGETHER, tuple(line for one in settings for line in one.config))


def _pairs(one: Taken, other: Taken) -> Iterator[tuple[float, float]]:
    yield one.whole, max(other.whole, 1e-9)
    yield one.again, max(other.again, 1e-9)


def config(settings: Sequence[Setting]) -> str:
    """Lines for .cargo/config.toml, each with what it costs."""
    return "".join(f"{line}{f'  # {one.price}' if one.price else ''}\n" for one in settings for line in one.config)


def row(name: str, taken: Taken, base: Taken) -> str:
    """One line of a table: seconds, and how much less that is."""
    whole, again = (1 - ours / theirs for ours, theirs in _pairs(taken, base))
    return f"{name:<26} {taken.whole:8.2f} s {whole:+7.0%} {taken.again:8.2f} s {again:+7.0%}"
