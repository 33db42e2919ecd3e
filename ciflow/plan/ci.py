"""The configuration of a CI server that runs a playbook: one job, which calls `ciflow apply`.

GitHub Actions (https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax) and GitLab CI
(https://docs.gitlab.com/ci/yaml/). The job may do no more than it must: it has no rights but those that it needs, its
actions are named by commit, the token stays out of the checkout, and whatever somebody types or keeps as a secret
reaches the shell as a variable, never as text of the script.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.plan.compile import Plan, every_task

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
RUST_CACHE = "Swatinem/rust-cache@6323deb102c322ba6fcbdcafc7e3dddab59af2b6 # v2.9.2"
UPLOAD = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1"
RUNNER = "ubuntu-24.04"
IMAGES = {True: "rust:1.85-bookworm", False: "python:3.12-bookworm"}  # by whether Rust is built
USUAL = 60  # minutes, besides those that rollouts may take
LONGEST = 360  # minutes that GitHub gives a job on its own machines
REPORTS = "ciflow-report"
_BY_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh")


@dataclass(frozen=True, slots=True)
class Job:
    """What the job has to do, and what it needs for it. Paths count from the root of the repository."""

    name: str
    playbook: str
    inventories: tuple[str, ...]
    branch: str
    install: str  # what pipx installs
    minutes: int
    state: str = ""  # where the team's journal is; "" for one that ends with the job
    rust: bool = False
    cached: bool = False  # the playbook itself caches what is compiled
    keyless: bool = False
    ssh: bool = False
    vault: bool = False
    waits: bool = False  # for somebody's yes

    @property
    def slug(self) -> str:
        """The name as a word of the servers' own."""
        word = "".join(char if char.isascii() and char.isalnum() else "-" for char in self.name.lower()).strip("-")
        return word if word[:1].isalpha() else f"ciflow-{word}".rstrip("-")


def job_of(plan: Plan, *, playbook: str, inventories: tuple[str, ...], branch: str, install: str, state: str,
           vault: bool) -> Job:  # fmt: skip
    """Refused where a name would be taken for an expression of the server's."""
    for text in (plan.name, playbook, *inventories, branch, install, state):
        if "${{" in text or "$[[" in text or not text.isprintable():
            raise Refused(f"{text!r} can't stand in the file of a CI server")
    plays = {stage.play.id: stage.play for stage in plan.stages}.values()
    tasks = [task for play in plays for task in every_task(play)]
    builds = [task for task in tasks if task.module in ("cargo", "nextest", "reproduce")]
    rollouts = (play.canary for play in plays if play.canary)
    seconds = sum(canary.deadline + canary.bake for canary in rollouts)
    return Job(
        plan.name, playbook, inventories, branch, install, USUAL + math.ceil(seconds / 60), state,
        rust=bool(builds),
        cached=any(task.args.get("cache", "none") != "none" for task in builds),
        keyless=any(task.args.get("keyless") is not None for task in tasks),
        ssh=any(str(host.vars.get("ansible_connection", host.connection)) in _BY_SSH for stage in plan.stages
                for host in stage.hosts),
        vault=vault,
        waits=any(play.approval for play in plays),
    )  # fmt: skip


def remarks(job: Job, kind: str) -> Iterator[str]:
    """What whoever puts the file in place must know."""
    secrets = [name for name, _ in _secrets(job)]
    if secrets:
        where = "secrets of the repository" if kind == "github" else "protected variables of the project"
        yield f"it reads {', '.join(secrets)}: {where}"
    if job.ssh:
        yield "SSH_KNOWN_HOSTS, a variable there, has the keys of the hosts (`ssh-keyscan`, held against what they say)"
    if job.cached:
        yield ("the playbook caches what is compiled itself, so the server's cache is not used beside it: give its "
               "store as variables, such as SCCACHE_BUCKET")  # fmt: skip
    if job.waits and not job.state:
        yield ("it waits for somebody's yes, and `ciflow approve` can't reach a journal that ends with the job: say "
               "--state postgresql://HOST/DATABASE")  # fmt: skip
    if kind == "github" and job.minutes > LONGEST:
        yield (f"its rollouts may take {job.minutes} minutes, and GitHub's own machines give a job {LONGEST}; one that "
               "is cut off goes back by its dead-man")  # fmt: skip


# --- GitHub ----------------------------------------------------------------------------------------------------


def github(job: Job) -> str:
    lines = [
        f"# Made by `{_made_by(job, 'github')}`: make it anew after a change of the playbook.",
        f"name: {json.dumps(job.name)}",
        "on:",
        "  push:",
        f"    branches: [{json.dumps(job.branch)}]",
        "  workflow_dispatch:",
        "    inputs:",
        "      extra-vars:",
        '        description: "Variables of this run: key=value, or JSON"',
        "        type: string",
        '        default: ""',
        "",
        "permissions: {}",
        "",
        "concurrency: # one release at a time, and none is cut off by the next",
        f"  group: ciflow-{job.slug}",
        "  cancel-in-progress: false",
        "",
        "jobs:",
        f"  {job.slug}:",
        f"    name: {json.dumps(job.name)}",
        f"    runs-on: {RUNNER}",
        f"    timeout-minutes: {min(job.minutes, LONGEST)}",
        "    permissions:",
        "      contents: read # to check the sources out",
        *(["      id-token: write # to sign as this workflow"] if job.keyless else []),
        "    steps:",
        *_indented(_github_steps(job), 6),
    ]
    return "\n".join(lines) + "\n"


def _github_steps(job: Job) -> Iterator[str]:
    yield from ("- name: Check out", f"  uses: {CHECKOUT}", "  with:",
                "    fetch-depth: 0 # what a change touches is seen by its history",
                "    persist-credentials: false")  # fmt: skip
    if job.rust and not job.cached:
        yield from ("- name: Keep what cargo has fetched and built", f"  uses: {RUST_CACHE}")
    yield from ("- name: Install ciflow", f"  run: pipx install {shlex.quote(job.install)}")
    yield from ("- name: Apply", "  env:", "    EXTRA_VARS: ${{ inputs.extra-vars }}")
    if job.state:
        yield f"    CIFLOW_STATE: {json.dumps(job.state)}"
    yield from (f"    {name}: ${{{{ secrets.{name} }}}}" for name, _ in _secrets(job))
    if job.ssh:
        yield "    SSH_KNOWN_HOSTS: ${{ vars.SSH_KNOWN_HOSTS }}"
    yield from ("  run: |", *_indented(_script(job, "html", "md"), 4))
    told = f'if [ -f {REPORTS}/run.md ]; then cat {REPORTS}/run.md >> "$GITHUB_STEP_SUMMARY"; fi'
    yield from ("- name: Tell what came of it", "  if: always()", f"  run: {told}")
    yield from ("- name: Keep the report", "  if: always()", f"  uses: {UPLOAD}", "  with:", f"    name: {REPORTS}",
                f"    path: {REPORTS}", "    if-no-files-found: ignore")  # fmt: skip


# --- GitLab ----------------------------------------------------------------------------------------------------


def gitlab(job: Job) -> str:
    lines = [
        f"# Made by `{_made_by(job, 'gitlab')}`: make it anew after a change of the playbook.",
        "variables:",
        "  EXTRA_VARS:",
        '    value: ""',
        '    description: "Variables of this run: key=value, or JSON"',
        "",
        f"{job.slug}:",
        f"  image: {IMAGES[job.rust]}",
        "  rules:",
        f"    - if: {json.dumps(f'$CI_COMMIT_BRANCH == {json.dumps(job.branch)}')}",
        f"  resource_group: ciflow-{job.slug} # one release at a time",
        "  interruptible: false",
        f"  timeout: {job.minutes} minutes",
        "  variables:",
        "    PIPX_BIN_DIR: /usr/local/bin",
        '    GIT_DEPTH: "0" # what a change touches is seen by its history',
        *([f"    CIFLOW_STATE: {json.dumps(job.state)}"] if job.state else []),
        *_indented(_gitlab_cache(job), 2),
        *(["  id_tokens: # to sign as this job", "    SIGSTORE_ID_TOKEN: {aud: sigstore}"] if job.keyless else []),
        "  before_script:",
        "    - apt-get update -qq && apt-get install -qq -y --no-install-recommends git openssh-client pipx",
        *(["    - rustup component add clippy rustfmt"] if job.rust else []),
        f"    - {json.dumps(f'pipx install {shlex.quote(job.install)}')}",
        "  script:",
        "    - |",
        "      (",
        *_indented(_script(job, "html", "xml"), 6),
        "      )",
        "  artifacts:",
        "    when: always",
        f"    paths: [{REPORTS}]",
        "    reports:",
        f"      junit: {REPORTS}/run.xml",
    ]
    return "\n".join(lines) + "\n"


def _gitlab_cache(job: Job) -> Iterator[str]:
    if job.rust and not job.cached:
        yield '  CARGO_HOME: "$CI_PROJECT_DIR/.cargo"'
        yield from ("cache:", "  key: {files: [Cargo.lock]}", "  paths: [.cargo/registry, target]")


# --- both ------------------------------------------------------------------------------------------------------


def _secrets(job: Job) -> tuple[tuple[str, str], ...]:
    """Variables that hold what must be in a file, each with the option that names the file."""
    found = {"SSH_PRIVATE_KEY": ("--private-key", job.ssh), "VAULT_PASSWORD": ("--vault-password-file", job.vault)}
    return tuple((name, option) for name, (option, wanted) in found.items() if wanted)


def _script(job: Job, *reports: str) -> Iterator[str]:
    """For a shell. Each secret goes into a file in a folder of this account's own, which goes with the shell."""
    yield "set --"
    yield 'if [ -n "$EXTRA_VARS" ]; then set -- --extra-vars "$EXTRA_VARS"; fi'
    if secrets := _secrets(job):
        yield from ("kept=$(mktemp -d)", """trap 'rm -rf "$kept"' EXIT""")
        for name, option in secrets:
            yield f'if [ -n "${name}" ]; then'
            yield f'  printf "%s\\n" "${name}" > "$kept/{name}"'
            yield f'  set -- "$@" {option} "$kept/{name}"'
            yield "fi"
        yield f"unset {' '.join(name for name, _ in secrets)}"
    if job.ssh:
        yield "mkdir -p ~/.ssh"
        yield 'printf "%s\\n" "$SSH_KNOWN_HOSTS" >> ~/.ssh/known_hosts'
    told = (f"--report {REPORTS}/run.{ending}" for ending in reports)
    yield " ".join(("ciflow apply", *_named(job), "--no-input", *told, '"$@"'))


def _made_by(job: Job, kind: str) -> str:
    return " ".join([f"ciflow export {kind}", *_named(job)])


def _named(job: Job) -> Iterator[str]:
    yield shlex.quote(job.playbook)
    yield from (f"-i {shlex.quote(one)}" for one in job.inventories)


def _indented(lines: Iterator[str] | Sequence[str], by: int) -> Iterator[str]:
    return (f"{' ' * by}{one}" for one in lines)
