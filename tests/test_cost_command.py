"""`ciflow cost`: what past runs cost, on one screen and as data, and what `ciflow plan` makes of them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ciflow.store.store import Store
from tests.report.test_cost import HERE, Told
from tests.test_cli import SAY, Shell

OWN = """
currency: USD
rates:
  - {on: self-hosted, price: 0.6, per: hour, from: 2026-01-01, source: our invoice}
"""
KEPT = """
- name: Leave
  hosts: localhost
  tasks: [{name: write, copy: {dest: "{{ playbook_dir }}/left", content: "0123456789"}}]
  artifacts: [{name: left, path: "{{ playbook_dir }}/left"}]
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def kept(shell: Shell, *told: Told) -> None:
    with Store.open(shell.folder / "state") as store:
        for one in told:
            store.append(one.events)


def data(shell: Shell, *words: str, **env: str) -> list[dict[str, Any]]:
    done = shell("cost", "--json", *words, **env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_a_run_the_newest_is_meant_and_a_run_by_its_number(shell: Shell) -> None:
    kept(shell, Told("R-1-aa").played("build", 61).over(), Told("R-2-bb").played("test", 30).over())
    [newest], [first] = data(shell), data(shell, "R-1")
    assert (newest["run"], newest["amount"]) == ("R-2-bb", "0.006000")
    assert (first["run"], first["amount"], first["jobs"][0]["billed_seconds"]) == ("R-1-aa", "0.012000", 120)
    shown = shell("cost", "R-1").stdout
    assert "R-1-aa  site.yml  by ada" in shown and "on linux-2" in shown
    assert "linux-2: USD 0.006 per minute since 2026-01-01" in shown
    assert shell("cost", "R-7").returncode == 3


def test_runs_are_looked_at_by_month_playbook_run_and_play(shell: Shell) -> None:
    kept(shell, Told("R-1").played("build", 61).over(), Told("R-2", playbook="b.yml").played("build", 30).over())
    assert [(one["month"], one["runs"], one["amount"]) for one in data(shell, "--by", "month")] == [
        ("2026-11", 2, "0.018000")
    ]
    by_playbook = {one["playbook"]: one["amount"] for one in data(shell, "--by", "playbook")}
    assert by_playbook == {"site.yml": "0.012000", "b.yml": "0.006000"}
    assert [one["run"] for one in data(shell, "--by", "run")] == ["R-1", "R-2"], "the dearest first"
    plays = [(one["playbook"], one["play"]) for one in data(shell, "--by", "play") if one["what"] == "play"]
    assert plays == [("site.yml", "build"), ("b.yml", "build")]
    assert "R-1" in shell("cost", "--by", "run").stdout


def test_since_leaves_out_what_began_before(shell: Shell) -> None:
    kept(shell, Told("R-1").played("build", 61).over())
    assert data(shell, "--since", "2026-11-26", "--by", "run")
    assert data(shell, "--since", "2999-01-01") == []
    wrong = shell("cost", "--since", "soon")
    assert wrong.returncode == 3 and "no day such as 2026-11-01" in wrong.stderr
    assert shell("cost", "R-1", "--by", "month").returncode == 3


def test_ones_own_rates_come_from_an_option_the_environment_or_the_usual_place(shell: Shell) -> None:
    kept(shell, Told(on=HERE).played("build", 60).over())
    assert data(shell)[0]["unpriced_seconds"] == 60
    shell.write(rates=OWN)
    here = str(shell.folder / "rates.yml")
    usual = shell.folder / "config" / "ciflow"
    usual.mkdir(parents=True)
    found = [data(shell, "--rates", here), data(shell, CIFLOW_RATES=here)]
    (usual / "rates.yml").write_text(OWN)
    found.append(data(shell, XDG_CONFIG_HOME=str(usual.parent)))
    assert [one["amount"] for [one] in found] == ["0.010000"] * 3


def test_faults_in_a_file_of_rates_are_shown_where_they_are(shell: Shell) -> None:
    kept(shell, Told().played("build", 60).over())
    shell.write(rates=OWN.replace("hour", "fortnight"))
    wrong = shell("cost", "--rates", "rates.yml")
    assert wrong.returncode == 3 and "rates.yml:4:" in wrong.stderr and "fortnight" in wrong.stderr
    assert "linux-arm-4" in shell("cost", "--on", "linux-5").stderr, "those that there are"


def test_before_anything_was_run_it_says_so(shell: Shell) -> None:
    done = shell("cost")
    assert (done.returncode, done.stdout) == (3, "") and "nothing was run yet" in done.stderr


def test_a_real_run_costs_what_its_parts_add_up_to(shell: Shell) -> None:
    shell.write(say=SAY)
    assert shell("apply", "say.yml").returncode == 0
    [run] = data(shell, "--on", "linux-2")
    assert sum(Decimal(part["amount"]) for part in run["parts"]) == Decimal(run["amount"]) > 0
    assert run["commands"] == run["measured"] == 1 and run["cpu"] > 0 and run["peak_kb"] > 0


def test_what_a_run_left_is_kept_until_it_is_removed(shell: Shell) -> None:
    shell.write(kept=KEPT)
    assert shell("apply", "kept.yml").returncode == 0
    [left] = [part for part in data(shell)[0]["parts"] if part["what"] == "artifacts"]
    assert (left["kept"], left["unpriced_bytes"]) == (10, 10)
    assert "no rate for storage, 10 B" in shell("cost").stdout
    _age(shell)
    assert shell("artifact", "gc", "--older-than", "0", "--keep", "0").returncode == 0
    assert data(shell)[0]["kept"] == 0


def _age(shell: Shell) -> None:
    """What was kept just now is not removed yet: let it be an hour old, for the store and for the journal."""
    for path in (shell.folder / "state" / "artifacts").rglob("ciflow-left-*"):
        entry = json.loads(path.read_text())
        path.write_text(json.dumps({**entry, "at": entry["at"] - 3600}, sort_keys=True))


def test_plan_says_what_a_playbook_usually_takes_and_costs(shell: Shell) -> None:
    shell.write(site="- {name: Build, hosts: localhost, tasks: [{debug: {msg: x}}]}\n")
    assert "usually" not in shell("plan", "site.yml").stdout, "nobody knows"
    kept(shell, *(Told(f"R-{n}").played("build", took).over() for n, took in enumerate((60, 90, 300))))
    lines = shell("plan", "site.yml").stdout.splitlines()
    assert lines[0].endswith("  usually 1m 30s")
    assert lines[-1] == "usually 1m 30s, USD 0.0120 on linux-2: by the median of each play's last 3 runs"
    play, estimate = map(json.loads, shell("plan", "site.yml", "--json").stdout.splitlines())
    assert play["usual"] == {"seconds": 90, "runs": 3}
    assert (estimate["estimate"]["amount"], estimate["estimate"]["on"]) == ("0.012000", "linux-2")


def test_a_plan_does_not_need_the_journal(shell: Shell) -> None:
    shell.write(site="- {name: Build, hosts: localhost, tasks: [{debug: {msg: x}}]}\n")
    (shell.folder / "state").mkdir()
    (shell.folder / "state" / "journal.db").write_bytes(b"no journal" * 1000)
    done = shell("plan", "site.yml")
    assert done.returncode == 0 and "there is no estimate" in done.stderr and "Build [build]" in done.stdout
