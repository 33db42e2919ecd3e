"""A run as Markdown: for the summary of a job, a comment, a chat.

GitHub Flavored Markdown (https://github.github.com/gfm/). All that came from a run is escaped, or stands in code that
no text can end. GitHub takes 1 MiB for the summary of a step, and nothing of one that is larger: what there may be any
number of is cut, and the rest counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ciflow.report import humane
from ciflow.report.dial import Dial
from ciflow.report.record import Ended, Record
from ciflow.report.summary import GOOD_EXITS
from ciflow.report.text import fit

MOST_ROWS = 200  # of any table
MOST_FAILED = 20  # tasks whose failures are shown
MOST_HOSTS = 3  # of each of these
LONGEST = 300  # columns of anything in a line
_MEANS = re.compile(r"([\\`*_{}\[\]<>|#~&$@^]|:(?=\S)|(?<=www)\.)")  # and what GitHub makes links and pictures of


def markdown(record: Record) -> str:
    """The whole report, with a line break at its end."""
    blocks = [_head(record), _table(("play", "result", "did", "took"), _plays(record)), *_failures(record)]
    for dial in record.summary.dials.values():
        blocks += _rollout(dial)
    blocks.append(_table(("left", "sha256", "what"), _left(record)))
    if record.summary.users:
        served, failed, met = map(humane.number, record.summary.served)
        blocks.append(f"{served} requests served, {failed} failed, {met} met by a faulty version.")
    blocks += [f"Noted by {_text(str(n.get('by')))}: {_text(str(n.get('reason')))}" for n in record.summary.annotations]
    if record.summary.following:
        blocks.append(f"Next: {_code(record.summary.following)}")
    return "\n\n".join(filter(None, blocks)) + "\n"


def _head(record: Record) -> str:
    summary = record.summary
    took = humane.duration(summary.ended - summary.began) if summary.ended else ""
    by = f"by {_text(record.who)}" if record.who else ""
    facts = (_code(summary.run), _code(record.playbook) if record.playbook else "", by, took)
    return f"### {_text(summary.sentence)}\n\n{', '.join(filter(None, facts))}"


def _plays(record: Record) -> Iterator[tuple[str, ...]]:
    for id, end in record.summary.plays.items():
        words = (record.summary.dials[id].came_to if id in record.summary.dials else "") or end.words
        result = end.result.replace("_", " ")
        told = _text(result) if result in ("ok", "cached", "skipped") else f"**{_text(result)}**"
        yield _text(end.name), told, _text(words), humane.duration(end.duration)


def _failures(record: Record) -> Iterator[str]:
    if record.summary.exit in GOOD_EXITS:
        return  # those that there were have been ignored
    failed = [task for play in record.plays.values() for task in play.tasks.values() if task.failures]
    for task in failed[:MOST_FAILED]:
        for host, ended in list(task.failures.items())[:MOST_HOSTS]:
            yield from _failure(task.name, host, ended)
        if (more := len(task.failures) - MOST_HOSTS) > 0:
            yield f"**{_text(task.name)}** failed on {humane.counted(more, 'more host')}."
    if (more := len(failed) - MOST_FAILED) > 0:
        yield f"{humane.counted(more, 'more task')} failed."


def _failure(task: str, host: str, ended: Ended) -> Iterator[str]:
    yield f"**{_text(task)}** {ended.status} on {_code(host)}"
    said = [part for part in (ended.message, ended.text) if part]
    lines = [fit(row, LONGEST) for part in dict.fromkeys(said) for row in part.split("\n")[:MOST_FAILED]]
    if lines:
        fence = "`" * max(3, _longest_run(lines) + 1)
        yield "\n".join((f"{fence}text", *lines, fence))
    if ended.cause:
        yield f"Likely: {_text(ended.cause)}"


def _rollout(dial: Dial) -> Iterator[str]:
    yield f"**{_text(dial.title)}** {_text(dial.state.replace('_', ' '))}"
    rows = (
        (humane.share(stand.weight), stand.verdict, str(stand.candidate), str(stand.stable),
         _text("; ".join(stand.evidence())), humane.duration(max(stand.ended - stand.began, 0.0)))
        for stand in dial.stands
    )  # fmt: skip
    yield _table(("share", "verdict", "errors", "of stable", "evidence", "for"), rows)
    yield _text(dial.why)


def _left(record: Record) -> Iterator[tuple[str, ...]]:
    summary = record.summary
    signed = {str(one.get("name")) for one in summary.signatures}
    for name, data in (*summary.artifacts.items(), *summary.sboms.items()):
        size = humane.size(float(data["size"])) if "size" in data else ""
        parts = humane.counted(int(data["components"]), "component") if "components" in data else ""
        words = filter(None, (size, parts, "signed" if name in signed else ""))
        yield _code(name), _code(str(data.get("sha256") or "")[:12]), ", ".join(words)


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    """Empty where there is no row."""
    found = [*rows]
    if not found:
        return ""
    shown = [tuple(head), ("---",) * len(head), *found[:MOST_ROWS]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in shown)
    more = len(found) - MOST_ROWS
    return f"{table}\n\nand {humane.number(more)} more" if more > 0 else table


def _text(text: str) -> str:
    """Text that means nothing: each sign that could is escaped."""
    return _MEANS.sub(r"\\\1", fit(text, LONGEST))


def _code(text: str) -> str:
    """A span of code. A bar would end the cell of a table even there, and takes a backslash."""
    shown = fit(text, LONGEST).replace("|", "\\|")
    if not shown:
        return ""
    fence = "`" * (_longest_run([shown]) + 1)
    blank = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def _longest_run(lines: Sequence[str]) -> int:
    return max((len(run) for row in lines for run in re.findall("`+", row)), default=0)
