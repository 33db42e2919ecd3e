"""What the last screen says of tests and of the compiler cache, play by play."""

from __future__ import annotations

from typing import Any

from ciflow.report.summary import Summary
from tests.report.story import Story


def shown(story: Story) -> str:
    summary = Summary()
    for event in story.tell("run_ended", {"exit": 0, "result": "ok"}).events:
        summary.event(event)
    return "\n".join("".join(piece.text for piece in line) for line in summary.lines(160))


def cache(hits: int, misses: int, **more: Any) -> dict[str, Any]:
    return {"backend": "s3", "where": "bucket b at AWS", "why": "s3", "hits": hits, "misses": misses,
            "seconds_saved": 2.5 * hits, "not_cached": {}, "lost": "", **more}  # fmt: skip


def test_a_play_says_what_became_of_its_tests() -> None:
    story = Story().begin().play("test", "Test")
    results = {"a": ["P", 1.0], "b": ["FP", 1.0], "c": ["P", 1.0], "d": ["FF", 1.0]}
    story.tell("tests", {"commit": "", "part": "", "results": results}, play="test")
    story.tell("tests", {"commit": "", "part": "quarantine", "results": {"e": ["F", 1.0]}}, play="test")
    assert "3 passed, 1 flaky, 1 failed, 1 in quarantine" in shown(story.end_play("test"))


def test_builds_of_a_play_share_a_line_and_a_lost_store_is_said() -> None:
    story = Story().begin().play("build", "Build")
    story.tell("cache", cache(3, 1), play="build").tell("cache", cache(5, 1, lost="sccache ended with 2"), play="build")
    said = shown(story.end_play("build"))
    assert "cache Build: 8 of 10 crates from bucket b at AWS, about 20 s saved" in said
    assert "the rest compiled without it, for the store was lost" in said


def test_why_there_was_no_cache_is_said() -> None:
    story = Story().begin().play("build", "Build")
    story.tell("cache", {"backend": "", "why": "sccache is not installed", "hits": 0, "misses": 0}, play="build")
    assert "cache Build: none: sccache is not installed" in shown(story.end_play("build"))
