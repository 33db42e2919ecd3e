"""`ciflow report`: JUnit for a build server, a page, Markdown, JSON, each of a run that is over."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from ciflow.report.html import html
from ciflow.report.markdown import markdown
from ciflow.report.record import Record
from tests.report import story
from tests.report.story import Story
from tests.test_cli import FAIL, SAY, Shell

# Names that mean something to Markdown, to HTML, or to a terminal.
HOSTILE = (
    "<script>alert(1)</script>", "</pre></style><img src=x onerror=alert(1)>", "a | b", "**bold** _it_ `code`",
    "[link](http://a.example)", "![x](http://a.example/x.png)", "http://a.example www.a.example me@a.example",
    "~~gone~~", "# head", "&lt;b&gt;", "\\| back\\", "``` fence", "javascript:alert(1)", "a\nb\x1b[2J", ":tada:",
    "1. one", "- item",
)  # fmt: skip


def folded(told: Story) -> Record:
    record = Record()
    for event in told.events:
        record.event(event)
    return record


def hostile(text: str) -> Story:
    """A run in which everything is called `text`."""
    s = Story().tell("run_started", {"playbook": text, "who": text}).play("p", text)
    s.task("p", "0", text, {text: "failed"}, module=text, msg=text, tail=f"{text}\n{text}", explanation=text)
    s.tell("canary_started", {"service": text, "version": text, "slot": "b", "token": 1, "from": text}, play="p")
    s.tell("dial", {"share": 1, "slot": "b", "weight": 1, "token": 1}, play="p")
    s.tell("gate", {"name": text, "verdict": "bad", "evidence": 9.0, "threshold": 2.0, "sentence": text}, play="p")
    s.tell("canary_state", {"state": "rolled_back", "reason": f"{text}!"}, play="p")
    s.tell("artifact", {"name": text, "sha256": text, "size": 1}, play="p")
    return s.end_play("p", "failed", reason=text).end(4, f"{text} failed.", text)


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made.write(say=SAY, fail=FAIL)
    return made


def test_one_failed_run_is_told_in_every_format(shell: Shell) -> None:
    shell("apply", "fail.yml")
    assert "**Break it** failed on `localhost`" in shell("report").stdout
    assert json.loads(shell("report", "--format", "json").stdout)["exit"] == 4
    for name in ("run.html", "reports/run.xml", "run.json", "run.md"):
        done = shell("report", "R-1", "-o", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    suite = ET.parse(shell.folder / "reports" / "run.xml").getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("Try", "1", "1")
    assert "no such luck" in (shell.folder / "run.html").read_text()
    assert (shell.folder / "run.md").read_text() == shell("report").stdout
    found = json.loads((shell.folder / "run.json").read_text())
    assert {**found, "state": "failed", "since": []} == json.loads(shell("show", "--json").stdout)


def test_the_report_of_a_past_run_is_the_one_that_apply_wrote(shell: Shell) -> None:
    kinds = ("html", "xml", "json", "md")
    shell("apply", "fail.yml", "--junit", "junit.xml", *(word for kind in kinds for word in ("--report", f"a.{kind}")))
    for kind in kinds:
        shell("report", "-o", f"b.{kind}")
        assert (shell.folder / f"a.{kind}").read_bytes() == (shell.folder / f"b.{kind}").read_bytes()
    assert (shell.folder / "junit.xml").read_bytes() == (shell.folder / "a.xml").read_bytes()


def test_a_report_without_a_known_ending_is_refused_before_anything_runs(shell: Shell) -> None:
    done = shell("apply", "say.yml", "--report", "run.pdf")
    assert done.returncode == 3 and ".html, .xml, .json, .md" in done.stderr
    assert shell("history").stdout == ""


def test_what_cannot_be_written_is_said_and_changes_nothing(shell: Shell) -> None:
    shell("apply", "say.yml")
    (shell.folder / "file").write_text("kept")
    wrong = shell("report", "-o", "file/run.html")
    assert (wrong.returncode, wrong.stderr.partition(":")[0]) == (1, "error")
    assert "can't be written" in wrong.stderr and (shell.folder / "file").read_text() == "kept"
    unnamed = shell("report", "-o", "run.txt")
    assert unnamed.returncode == 3 and "ends with .html" in unnamed.stderr
    assert shell("report", "R-9").returncode == 3


# --- JUnit -----------------------------------------------------------------------------------------------------

# What Jenkins' schema (junit-10.xsd) allows of what we write: attributes of each element, and which must be there.
ALLOWED = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set()),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package",
                   "file", "log", "url", "group"}, {"name", "tests", "failures", "errors"}),
    "testcase": ({"name", "classname", "time", "group"}, {"name"}),
    "failure": ({"message", "type"}, set()),
    "error": ({"message", "type"}, set()),
    "skipped": ({"message", "type"}, set()),
}  # fmt: skip
INSIDE = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "error", "skipped"}}


@pytest.mark.parametrize("told", [story.release(), story.failure(), story.turned_back(), *map(hostile, HOSTILE)])
def test_junit_has_only_what_build_servers_know(told: Story) -> None:
    from ciflow.report.junit import junit

    root = ET.fromstring(junit(folded(told)))
    assert root.tag == "testsuites"
    for element in root.iter():
        allowed, needed = ALLOWED[element.tag]
        assert needed <= set(element.attrib) <= allowed
        assert {child.tag for child in element} <= INSIDE.get(element.tag, set())
        assert re.fullmatch(r"\d*(\.\d*)?", element.get("time", ""))


# --- the page --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """A page as a browser takes it: its texts, its elements; an element that isn't closed is a fault."""

    VOID = frozenset({"meta"})

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


KNOWN = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "article", "div", "details",
    "summary", "table", "thead", "tbody", "tr", "th", "td", "h1", "h2", "h3", "p", "span", "code", "pre", "strong",
    "meter",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_becomes_a_part_of_the_page(text: str) -> None:
    page = Page(html(folded(hostile(text))))
    assert {tag for tag, _ in page.elements} <= KNOWN
    names = {name for _, attributes in page.elements for name in attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "max", "value", "aria-label", "open"}
    shown = text.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert sum(shown in said for said in page.texts) >= 10


@pytest.mark.parametrize("told", [story.release(), story.failure(), story.turned_back()])
def test_a_page_loads_nothing(told: Story) -> None:
    text = html(folded(told)).decode()
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|<iframe", text)
    assert "default-src 'none'" in text


def test_a_page_says_what_came_of_a_release() -> None:
    texts = Page(html(folded(story.release()))).texts
    sentence = "shield 1.4.0 has all traffic and is observed good."
    digest = "9f2c" + "0" * 60
    for said in (sentence, "Roll out", "ciflow rollback shield", "3 of 610", "40 of 11,590", digest, "412 components"):
        assert said in texts
    assert "shield 1.4.0 -> slot b, 4 hosts " in texts


# --- Markdown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_means_anything_to_markdown(text: str) -> None:
    """As a parser of CommonMark with GitHub's tables, and raw HTML allowed, takes it."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown(folded(hostile(text))))
    inline = [inner for token in tokens for inner in token.children or ()]
    assert {token.type for token in tokens if not token.type.endswith(("_open", "_close"))} <= {"inline", "fence"}
    assert {token.type for token in inline} <= {"text", "code_inline", "strong_open", "strong_close", "softbreak"}
    shown = text.replace("\n", "\\n").replace("\x1b", "\\x1b")
    lines = text.replace("\x1b", "\\x1b")
    assert [token.content for token in tokens if token.type == "fence"] == [f"{lines}\n" * 3]
    said = ["".join(one.content for one in token.children or ()) for token in tokens if token.type == "inline"]
    assert sum(shown in one for one in said) >= 8
    assert [token.type for token in tokens].count("heading_open") == 1


def test_a_table_has_as_many_cells_in_each_row_whatever_stands_in_them() -> None:
    for text in HOSTILE:
        tokens = MarkdownIt("commonmark").enable("table").parse(markdown(folded(hostile(text))))
        kinds = [token.type for token in tokens]
        assert kinds.count("table_open") == 3, "plays, the dial, what it left"
        rows = "".join({"tr_open": "\n", "th_open": ".", "td_open": "."}.get(kind, "") for kind in kinds).split()
        assert sorted(rows) == sorted(["." * 4] * 2 + ["." * 6] * 2 + ["." * 3] * 2)


def test_a_run_of_any_size_fits_into_the_summary_of_a_job() -> None:
    """GitHub takes 1 MiB, and nothing of what is larger."""
    s = Story().begin()
    for number in range(300):
        s.play(f"p{number}", "name " * 200)
        hosts = {f"host{one}": "failed" for one in range(20)}
        s.task(f"p{number}", "0", "task " * 200, hosts, msg="|" * 5_000, tail="\n".join(["`" * 5_000] * 10))
        s.end_play(f"p{number}", "failed", reason="why " * 500)
    text = markdown(folded(s.end(4, "It failed on all hosts.")))
    assert len(text.encode()) < 2**20
    assert "and 100 more" in text and "280 more tasks failed." in text and "failed on 17 more hosts." in text
