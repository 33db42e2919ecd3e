"""How time and memory grow with the number of hosts: `python -m benchmarks.scale [--tasks 3] [100 1000 ..]`.

The simulated farm (farm.py), by one process and by three Dask workers, with the journal in PostgreSQL; one try each,
for what is looked for is how it grows. Writes benchmarks/scale.json, draws docs/scale.svg from it and fills in the
table of docs/scale.md; without numbers of hosts it only draws.
"""

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import farm
from benchmarks.contenders import REPO
from benchmarks.measure import Cost, end_by_sigterm, measure
from tests.parts.postgres import Postgres, postgres
from tests.parts.process import short_folder

RECORD = Path(__file__).parent / "scale.json"
PICTURE = REPO / "docs" / "scale.svg"
PAGE = REPO / "docs" / "scale.md"
TABLE = re.compile(r"(?<=\|---\|---\|---\|---\|---\|\n)(?:\| [\d,]+ \|.*\n)+")
LIMIT_S = 900.0
WAYS = {"one process": (), "three workers": ("--workers", "local:3")}
WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H = 760, 300, 60, 40, 290, 200
COLOURS = {"one process": "#b35900", "three workers": "#1f5fa8"}


@dataclass(frozen=True)
class Point:
    """What a number of hosts cost: seconds of wall and CPU time, MB (10^6 bytes) of all processes together."""

    way: str
    hosts: int
    tasks: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def environment(folder: Path, server: Postgres) -> dict[str, str]:
    """A journal of its own, and the farm also in workers."""
    return {"XDG_STATE_HOME": str(folder / "state"), "CIFLOW_STATE": server.database(), "PYTHONPATH": str(REPO),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "benchmarks.farm"}  # fmt: skip


def argv(folder: Path, hosts: int, tasks: int) -> tuple[str, ...]:
    """A run over the farm, described in `folder`."""
    inventory, play = folder / "farm.ini", folder / "farm.yml"
    inventory.write_text(farm.inventory(hosts))
    play.write_text(farm.playbook(tasks))
    return (sys.executable, "-m", "benchmarks.farm", "apply", str(play), "-i", str(inventory), "-q")


def tried(way: str, hosts: int, tasks: int) -> Cost:
    with short_folder("scale") as folder, postgres(folder) as server:
        (folder / "work").mkdir()
        command = (*argv(folder, hosts, tasks), *WAYS[way])
        return measure(command, environment(folder, server), folder / "work", True, LIMIT_S)


def measured(numbers: Sequence[int], tasks: int) -> Iterator[Point]:
    for hosts in numbers:
        for way in WAYS:
            cost = tried(way, hosts, tasks)
            point = Point(way, hosts, tasks, round(cost.wall_s, 1), round(cost.cpu_s, 1), round(cost.peak_mb))
            print(f"{way:<14} {hosts:>6} hosts  {point.wall_s:>7.1f} s  {point.cpu_s:>7.1f} s cpu  {point.peak_mb} MB")
            yield point


def keep(points: Sequence[Point]) -> list[Point]:
    """Those of before, the new ones in place of theirs."""
    before = [Point(**line) for line in json.loads(RECORD.read_text())] if RECORD.exists() else []
    new = {(point.way, point.hosts) for point in points}
    every = [*points, *(point for point in before if (point.way, point.hosts) not in new)]
    every.sort(key=lambda point: (point.way, point.hosts))
    RECORD.write_text("[\n" + ",\n".join(json.dumps(asdict(point)) for point in every) + "\n]\n")
    return every


def draw(points: Sequence[Point]) -> str:
    """Two plots side by side: time and memory by hosts."""
    parts = [
        panel(points, 0, "cpu_s", "processor time of all processes, s"),
        panel(points, 1, "peak_mb", "memory of all processes, MB"),
    ]
    for number, (way, colour) in enumerate(COLOURS.items()):
        x = LEFT + number * 160
        parts.append(f'<rect x="{x}" y="{HEIGHT - 16}" width="12" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{HEIGHT - 10}">{way}</text>')
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


def panel(points: Sequence[Point], number: int, field: str, title: str) -> str:
    left = LEFT + number * (PLOT_W + 80)
    ticks_x = ticks(max(point.hosts for point in points))
    ticks_y = ticks(max(float(getattr(point, field)) for point in points))
    most_x, most_y = ticks_x[-1], ticks_y[-1]

    def at(hosts: float, value: float) -> tuple[float, float]:
        return left + PLOT_W * hosts / most_x, TOP + PLOT_H * (1 - value / most_y)

    lines = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for tick in ticks_y:
        y = at(0, tick)[1]
        lines.append(f'<line x1="{left}" x2="{left + PLOT_W}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.0f}</text>')
    for tick in ticks_x:
        x, below = at(tick, 0)[0], TOP + PLOT_H + 18
        lines.append(f'<text x="{x:.1f}" y="{below}" text-anchor="middle">{tick:,.0f}</text>')
    lines.append(f'<text x="{left + PLOT_W}" y="{TOP + PLOT_H + 36}" text-anchor="end">hosts</text>')
    for way, colour in COLOURS.items():
        own = [at(point.hosts, getattr(point, field)) for point in points if point.way == way]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in own)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in own]
    return "\n".join(lines)


def ticks(most: float) -> list[float]:
    """From 0 to `most` or just above, four to eight round numbers."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def rows(points: Sequence[Point]) -> str:
    """The lines of the page's table: processor time and memory, one way beside the other."""
    by = {(point.way, point.hosts): point for point in points}
    lines = []
    for hosts in sorted({point.hosts for point in points}):
        cells = [f"{hosts:,}"]
        for way in WAYS:
            point = by.get((way, hosts))
            cells += [f"{point.cpu_s:.1f} s", f"{point.peak_mb:.0f} MB"] if point else ["not measured", ""]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("hosts", nargs="*", type=int)
    parser.add_argument("--tasks", type=int, default=3)
    given = parser.parse_args()
    end_by_sigterm()
    os.chdir(REPO)
    points = keep(list(measured(given.hosts, given.tasks)))
    PICTURE.write_text(draw(points))
    PAGE.write_text(TABLE.sub(rows(points), PAGE.read_text()))


if __name__ == "__main__":
    main()
