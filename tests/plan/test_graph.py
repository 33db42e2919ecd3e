"""The drawn graph: every play, what it waits for, and names that would break the drawing."""

from __future__ import annotations

import re
from pathlib import Path

from ciflow.engine.request import Request, prepare
from ciflow.lang.files import Files
from ciflow.plan import Plan, graph

RELEASE = """\
name: Release shop
plays:
  - {name: Test, hosts: localhost}
  - {name: Lint, hosts: localhost, needs: []}
  - name: Build
    hosts: localhost
    needs: [Test, Lint]
    matrix: {bin: [server, cli], max_parallel: 1}
  - name: Roll out
    hosts: localhost
    when: build is defined
    canary:
      service: shop
      version: "1"
      router: {envoy: {port: 1, dir: /e}}
      slots: {a: {port: 2}, b: {port: 3}}
      steps: [1%, 50%]
      gates: [errors: {}]
  - {name: 'Say "done" <b>\\', hosts: localhost, always: true}
"""


def planned(folder: Path, text: str = RELEASE) -> Plan:
    (folder / "site.yml").write_text(text)
    return prepare(Request(str(folder / "site.yml")), Files.live())[1]


def test_the_tree_shows_needs_cells_and_the_way_of_the_dial(tmp_path: Path) -> None:
    assert (
        graph.tree(planned(tmp_path))
        == """\
Release shop
├─ Test [test]  localhost
├─ Lint [lint]  localhost
├─ Build [build]  localhost
│  ├─ after Test, Lint  (needs)
│  └─ matrix of 2, at most 1 at once: bin=server; bin=cli
├─ Roll out [roll_out]  localhost
│  ├─ after Build
│  ├─ when build is defined
│  ├─ canary of shop 1 by envoy: 1 % -> 50 % -> 100 %
│  └─ gates: errors; a bad one: rollback
└─ Say "done" <b>\\ [say_done_b]  localhost
   ├─ after Roll out
   └─ always: also when a play before it failed
"""
    )


def test_every_edge_is_in_every_form(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    wanted = {(before, stage.id) for stage in plan.stages for before in stage.needs}
    assert len(wanted) == 7  # Test and Lint to both cells, both cells to the rollout, the rollout to the end
    dot = set(re.findall(r'^  "(.+)" -> "(.+)";$', graph.dot(plan), re.MULTILINE))
    names = {f"n{number}": stage.id for number, stage in enumerate(plan.stages)}
    drawn = {(names[a], names[b]) for a, b in re.findall(r"^  (n\d) --> (n\d)$", graph.mermaid(plan), re.MULTILINE)}
    data = {(before, stage["id"]) for stage in graph.data(plan)["stages"] for before in stage["needs"]}
    assert dot == drawn == data == wanted


def test_names_with_quotes_and_markup_stay_names(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert r'[label="Say \"done\" <b>\\", style="rounded,dashed"];' in graph.dot(plan)
    assert '(["Say #34;done#34; #60;b#62;\\"])' in graph.mermaid(plan)


def test_one_cell_a_node_and_a_rollout_is_a_hexagon(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert '"build[bin=cli]" [label="Build\\nbin=cli"];' in graph.dot(plan)
    assert 'n4{{"Roll out<br>1 % -#62; 50 % -#62; 100 %"}}' in graph.mermaid(plan)
    assert graph.data(plan)["stages"][4]["canary"] == {"service": "shop", "router": "envoy", "percent": [1, 50]}
