"""`ciflow scan` as somebody types it, and `scan` as a task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.supply import published
from tests.test_cli import Shell

ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2020-{number:04}"
package = "time"
date = "2020-11-18"
{more}

[versions]
patched = [">= 0.2.23"]
```

# {title}

Text.
"""


@pytest.fixture
def ciflow(tmp_path: Path) -> Shell:
    (tmp_path / "home").mkdir()
    (tmp_path / "Cargo.lock").write_text(published.lock({("app", "1.0.0", "."): None, ("time", "0.1.45"): None}))
    publish(tmp_path, 71, "Segfault", 'cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"')
    publish(tmp_path, 72, "Nobody keeps it", 'informational = "unmaintained"')
    return Shell(tmp_path)


def publish(folder: Path, number: int, title: str, more: str = "") -> None:
    place = folder / "db" / "crates" / "time"
    place.mkdir(parents=True, exist_ok=True)
    text = ADVISORY.format(number=number, title=title, more=more)
    (place / f"RUSTSEC-2020-{number:04}.md").write_text(text)


def test_a_hole_is_shown_with_its_severity_fix_and_place_and_fails(ciflow: Shell) -> None:
    done = ciflow("scan", "--db", "db")
    assert done.returncode == 4
    assert "time 0.1.45  high 7.5  RUSTSEC-2020-0071\n  Segfault\n  fixed in 0.2.23\n" in done.stdout
    assert "(Cargo.lock:" in done.stdout
    assert "time 0.1.45  unmaintained  RUSTSEC-2020-0072" in done.stdout
    assert "1 high, 1 unmaintained in 2 packages; 2 advisories asked" in done.stdout
    assert done.stderr == "error: 1 finding fails on low\n"


@pytest.mark.parametrize(
    ("level", "code"), [("critical", 0), ("high", 4), ("unmaintained", 4), ("unsound", 0), ("never", 0)]
)
def test_what_fails_is_what_was_asked_for(ciflow: Shell, level: str, code: int) -> None:
    assert ciflow("scan", "--db", "db", "--fail-on", level).returncode == code


def test_the_policy_of_the_project_says_what_fails_and_what_is_passed_over(ciflow: Shell) -> None:
    (ciflow.folder / ".config").mkdir()
    policy = ciflow.folder / ".config" / "advisories.toml"
    policy.write_text(
        'fail_on = ["high"]\n[[ignore]]\nid = "RUSTSEC-2020-0071"\nreason = "no threads"\nuntil = 2999-12-31\n'
    )
    done = ciflow("scan", "--db", "db", "-v")
    assert done.returncode == 0
    assert "[ignored: no threads (until 2999-12-31)]" in done.stdout
    policy.write_text(policy.read_text().replace("2999", "2001"))
    done = ciflow("scan", "--db", "db")
    assert (done.returncode, "was ignored until 2001-12-31 (no threads): it counts again" in done.stdout) == (4, True)
    policy.write_text('[[ignored]]\nid = "X"\n')
    done = ciflow("scan", "--db", "db")
    assert done.returncode == 3
    assert "advisories.toml has no setting ignored" in done.stderr


def test_since_the_last_scan_only_what_is_new_is_shown_and_fails(ciflow: Shell) -> None:
    assert ciflow("scan", "--db", "db", "--since", "LAST").returncode == 3, "nothing to compare with"
    assert ciflow("scan", "--db", "db").returncode == 4
    assert ciflow("scan", "--db", "db", "--since", "LAST").returncode == 0
    publish(ciflow.folder, 73, "Another")
    done = ciflow("scan", "--db", "db", "--since", "LAST")
    assert (done.returncode, "Another" in done.stdout, "Segfault" in done.stdout) == (4, True, False)


def test_a_report_in_a_file_is_what_a_later_scan_compares_with(ciflow: Shell) -> None:
    assert ciflow("scan", "--db", "db", "--format", "json", "-o", "before.json").stdout == ""
    done = ciflow("scan", "--db", "db", "--since", "before.json", "--json")
    assert (done.returncode, json.loads(done.stdout)["failing"]) == (0, 0)


def test_a_vex_document_that_a_scan_wrote_is_taken_by_the_next(ciflow: Shell) -> None:
    assert ciflow("scan", "--db", "db", "--format", "openvex", "-o", "vex.json").returncode == 4
    document = json.loads((ciflow.folder / "vex.json").read_text())
    (hole,) = [one for one in document["statements"] if one["vulnerability"]["name"] == "RUSTSEC-2020-0071"]
    hole |= {"status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}
    (ciflow.folder / "vex.json").write_text(json.dumps(document))
    assert ciflow("scan", "--db", "db", "--vex", "vex.json").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scan",), "there is no database of advisories"),
        (("scan", "--db", "nowhere"), "no database of advisories at"),
        (("scan", "db", "--db", "db"), "Cargo.lock: No such file"),
        (("scan", "db/crates/time/RUSTSEC-2020-0071.md", "--db", "db"), "neither CycloneDX nor SPDX begins so"),
        (("scan", "--online"), "OSV can't be asked: http://127.0.0.1:1/v1/querybatch"),
        (("scan", "--db", "db", "--since", "Cargo.lock"), "the earlier scan is not JSON"),
    ],
)
def test_what_can_not_be_scanned_is_refused_in_one_line(ciflow: Shell, words: tuple[str, ...], said: str) -> None:
    home = str(ciflow.folder / "home")
    done = ciflow(*words, CARGO_HOME=home, CIFLOW_OSV="http://127.0.0.1:1", no_proxy="127.0.0.1")
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_task_scans_writes_its_documents_and_fails_the_play(ciflow: Shell) -> None:
    ciflow.write(
        site="""
- name: Release
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Look for known holes
      scan: {chdir: "{{ playbook_dir }}", databases: [db], fail_on: "{{ level }}", dest: out, formats: [json, sarif]}
"""
    )
    good = ciflow("apply", "site.yml", "-e", "level=critical")
    assert good.returncode == 0, good.stderr
    report = json.loads((ciflow.folder / "out" / "Cargo.lock.scan.json").read_text())
    assert [one["id"] for one in report["findings"]] == ["RUSTSEC-2020-0071", "RUSTSEC-2020-0072"]
    bad = ciflow("apply", "site.yml", "-e", "level=high")
    assert bad.returncode == 4
    assert "RUSTSEC-2020-0071" in bad.stderr
