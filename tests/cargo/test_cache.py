"""Which store of crates is chosen and why, and what its statistics come to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ciflow.cargo.cache import Compiled, Stats, Wish, added, choose, sentence, wrapper

GITHUB = {"GITHUB_ACTIONS": "set", "ACTIONS_RESULTS_URL": "https://results.example/", "ACTIONS_RUNTIME_TOKEN": "set"}
S3 = {"SCCACHE_BUCKET": "crates", "SCCACHE_ENDPOINT": "minio:9000"}
REDIS = {"SCCACHE_REDIS_ENDPOINT": "redis://cache"}


@pytest.mark.parametrize(
    ("seen", "kinds"),
    [
        ({}, ["local"]),
        (REDIS, ["redis", "local"]),
        (S3 | REDIS, ["s3", "redis", "local"]),
        (GITHUB | S3, ["github", "s3", "local"]),
        ({"GITHUB_ACTIONS": "set"}, ["local"]),
    ],
)
def test_the_most_shared_store_that_is_set_up_is_tried_first(seen: dict[str, str], kinds: list[str]) -> None:
    assert [one.kind for one in choose(Wish(), seen).candidates] == kinds


def test_where_a_store_listens_is_known_before_it_is_asked() -> None:
    addresses = {one.kind: one.address for one in choose(Wish(), GITHUB | S3 | REDIS).candidates}
    assert addresses == {
        "github": ("results.example", 443), "s3": ("minio", 9000), "redis": ("cache", 6379), "local": None,
    }  # fmt: skip
    (aws,) = choose(Wish("s3", {"SCCACHE_BUCKET": "b", "SCCACHE_REGION": "eu-west-1"}), {}).candidates
    assert aws.address == ("s3.eu-west-1.amazonaws.com", 443)


def test_a_job_of_github_that_hides_its_cache_is_told_apart_from_no_job() -> None:
    told = choose(Wish(), {"GITHUB_ACTIONS": "set"}).passed_over
    assert "github: the job doesn't hand on ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN" in told
    assert "github: not a job of GitHub Actions" in choose(Wish(), {}).passed_over


def test_users_and_environments_have_servers_of_their_own() -> None:
    (local,) = choose(Wish("local"), {}).candidates
    paths = {
        wrapper(local, "/usr/bin/sccache", "/c", user, seen).path
        for user in ("0", "1000")
        for seen in ({}, {"SCCACHE_DIR": "/other"})
    }
    assert len(paths) == 4


def test_the_wrapper_goes_on_without_sccache_and_passes_on_what_the_compiler_says(tmp_path: Path) -> None:
    """A program in sccache's place that ends as told: 1 is the compiler's own, 2 is sccache's."""
    stand_in, compiler = tmp_path / "sccache", tmp_path / "rustc"
    stand_in.write_text('#!/bin/sh\necho tried >> "$TRIED"\necho "$SAID" >&2\nexit "$CODE"\n')
    compiler.write_text("#!/bin/sh\necho compiled $1\n")
    (local,) = choose(Wish("local"), {}).candidates
    script = tmp_path / "wrapper"
    script.write_text(wrapper(local, str(stand_in), str(tmp_path), "0", {}).text)
    for path in (stand_in, compiler, script):
        path.chmod(0o755)

    def build(code: int, said: str = "warning: unused") -> tuple[int, str]:
        env = {"CODE": str(code), "TRIED": str(tmp_path / "tried"), "CIFLOW_CACHE_LOST": str(tmp_path / "lost"),
               "SAID": said, "PATH": "/usr/bin:/bin"}  # fmt: skip
        done = subprocess.run([script, compiler, "x"], env=env, capture_output=True, text=True, check=False)
        told.append(done.stderr)
        return done.returncode, done.stdout

    told: list[str] = []

    assert build(0) == (0, "")
    assert build(1) == (1, "")
    assert told == ["warning: unused\n"] * 2
    assert build(254, "sccache: Job failed on server 10.0.0.2:10501:\nerror[E0308]") == (0, "compiled x\n")
    assert told[-1] == "", "it is the compiler here that says what is wrong"
    assert not list(tmp_path.glob("lost*"))
    assert build(2) == (0, "compiled x\n")
    assert build(2) == (0, "compiled x\n")
    assert (tmp_path / "tried").read_text().count("tried") == 4, "once lost, it isn't tried again for each crate"


def test_counters_of_one_build_are_differences_and_a_new_server_begins_at_nothing() -> None:
    before = Stats(hits=5, misses=2, compilations=2, compile_seconds=4.0, not_cached={"crate-type": 1})
    after = Stats(hits=9, misses=3, compilations=3, compile_seconds=5.5, not_cached={"crate-type": 3})
    one = after.since(before)
    assert (one.hits, one.misses, one.compile_seconds, one.not_cached) == (4, 1, 1.5, {"crate-type": 2})
    assert Stats(hits=1).since(before).hits == 1


def test_seconds_saved_are_hits_times_the_mean_compilation_less_the_fetching() -> None:
    known = Compiled().with_(Stats(compilations=4, compile_seconds=8.0))
    assert known.saved(Stats(hits=10, hit_seconds=1.0)) == 19.0  # 10 x 2 s - 1 s
    assert Compiled().saved(Stats(hits=10)) is None
    assert Compiled.read(known.text()) == known
    assert Compiled.read("nonsense") == Compiled()


def test_builds_of_a_play_are_added_up_and_said_in_one_line() -> None:
    one = {"backend": "redis", "where": "redis at cache:6379", "hits": 3, "misses": 1, "seconds_saved": 4.0,
           "not_cached": {"links a program": 1}, "lost": ""}  # fmt: skip
    assert sentence(added(one, one)) == (
        "6 of 8 crates from redis at cache:6379, about 8 s saved, 2 not cacheable (2 links a program)"
    )
    assert sentence({"backend": "", "why": "sccache is not installed"}) == "none: sccache is not installed"
