"""Reports as files: which formats there are, and the sink that writes one at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

from ciflow.diagnostics import Refused
from ciflow.model import Event
from ciflow.report.record import Record
from ciflow.whole import write_whole

FORMATS = {".html": "html", ".xml": "junit", ".json": "json", ".md": "md"}  # by what a file's name ends with


class Report:
    """A Sink that writes its file at the end, whole or not at all."""

    def __init__(self, path: Path, form: str) -> None:
        self._path = path
        self._form = form
        self._record = Record()
        self.lost = ""

    def event(self, event: Event) -> None:
        self._record.event(event)

    def past(self, event: Event) -> None:
        """A report is of the whole run."""
        self.event(event)

    def tick(self, now: float) -> None:
        """Time alone is no event."""

    def close(self) -> None:
        try:
            write_whole(self._path, written(self._record, self._form))
        except OSError as e:
            self.lost = f"{self._path}: {e.strerror or e}"


def format_of(path: Path) -> str:
    """As the file's name says. Refused where it doesn't."""
    if path.suffix not in FORMATS:
        raise Refused(f"the name {path} doesn't say which report is wanted", help=f"it ends with {', '.join(FORMATS)}")
    return FORMATS[path.suffix]


def written(record: Record, form: str) -> bytes:
    """The report in one of FORMATS."""
    if form == "html":
        from ciflow.report.html import html

        return html(record)
    if form == "junit":
        from ciflow.report.junit import junit

        return junit(record)
    if form == "md":
        from ciflow.report.markdown import markdown

        return markdown(record).encode()
    return json.dumps(record.data(), indent=2).encode() + b"\n"
