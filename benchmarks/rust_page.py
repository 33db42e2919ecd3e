"""The table of W11 in docs/rust.md, made of results.json: `python -m benchmarks.rust_page`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rust import AIM_AFFECTED_S, AIM_OVERHEAD_S, AIMS, FLOOR

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "rust.md"
BEGIN, END = "<!-- numbers of W11 -->\n", "<!-- end of numbers -->\n"
AWAY = ("W11-distributed", "W11-distributed-first", "W11-remote", "W11-remote-again")
AGAINST = {"W11-shard-1": "W11-cold", "W11-shard-2": "W11-cold", "W11-line-first": "W11-line"} | {
    work: than for work, (than, _) in AIMS.items()
}
ABOVE = {"W11-fresh": ("cargo", AIM_OVERHEAD_S), "W11-affected": ("metadata", AIM_AFFECTED_S)}
HEAD = "| figure | who | wall s | CPU s | hits | |\n|---|---|---|---|---|---|\n"
Line = Mapping[str, Any]


def table(results: Sequence[Line]) -> str:
    """One row for each figure: seconds, and what is saved or added against cargo, with the aim where there is one."""
    by = {(line["work"], line["who"]): line for line in results if str(line["work"]).startswith("W11")}
    if not by:
        return "Not measured yet.\n"
    newest = max(by.values(), key=lambda line: str(line["date"]))
    head = f"On {newest['machine']}, {newest['date'][:10]}:\n\n{HEAD}"
    return head + "".join(f"| {' | '.join(_row(line, by))} |\n" for line in sorted(by.values(), key=_order))


def _order(line: Line) -> tuple[str, bool, float]:
    return str(line["work"]), line["who"] not in ("cargo", "metadata"), float(line["wall_s"])


def _row(line: Line, by: Mapping[tuple[str, str], Line]) -> Iterator[str]:
    hits = line.get("hits")
    yield f"`{line['work']}`"
    yield str(line["who"])
    yield f"{line['wall_s']:.2f}"
    yield f"{line['cpu_s']:.2f}"
    yield "" if hits is None else f"{hits:.0%}"
    yield _judged(line, by)


def _judged(line: Line, by: Mapping[tuple[str, str], Line]) -> str:
    work, who = str(line["work"]), str(line["who"])
    base, most = ABOVE.get(work, ABOVE["W11-affected"] if work.startswith("W11-affected") else ("", 0.0))
    if (work, base) in by and who != base:
        more = line["wall_s"] - by[work, base]["wall_s"]
        return f"{more:.2f} s more than {base}, {'good' if more <= most else 'not good'}: {most:g} s is aimed at"
    if who == FLOOR:
        return "the least that it can take: cargo is told which crate"
    if work in AWAY and who != "cargo":
        return f"{line['elsewhere']:.0%} of what was compiled by others, on the same cores"
    plain = by.get((AGAINST.get(work, ""), "cargo"))
    if plain is None or who == "cargo":
        return ""
    saved = 1 - line["wall_s"] / plain["wall_s"]
    said = f"{saved:.0%} less than cargo's `{plain['work']}`"
    aim = AIMS.get(work, ("", 0.0))[1]
    return f"{said}, {'good' if saved >= aim else 'not good'}: {aim:.0%} is aimed at" if aim else said


def written(page: str, results: Sequence[Line]) -> str:
    """The page with this table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + table(results) + "\n" + END + rest.partition(END)[2]


def write() -> None:
    PAGE.write_text(written(PAGE.read_text(), json.loads((HERE / "results.json").read_text())))


if __name__ == "__main__":
    write()
