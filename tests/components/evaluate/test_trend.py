"""Which earlier releases an evaluation is comparable with, and what is said of the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from components.context import Release
from components.evaluate import drawings, suite, trend
from components.evaluate.suite import Found, Item

if TYPE_CHECKING:
    from pathlib import Path


def _suite(name: str, metric: str, questions: str = "q", version: str = "v") -> dict[str, Any]:
    metrics = [{"name": metric, "label": f"How {name}", "better": "lower", "unit": "fraction"}]
    return {"name": name, "title": name.title(), "metrics": metrics, "asked": {"questions": questions, "version": version}}


def _report(value: float, *, seed: int = 3, tokens: int = 48, **questions: str) -> dict[str, Any]:
    suites = [_suite("rude", "rudeness", questions.get("rude", "q")), _suite("slow", "slowness", questions.get("slow", "q"))]
    gate = {"bound": "margin"}
    return {
        "seed": seed,
        "decoding": {"answer_tokens": tokens},
        "suites": suites,
        "gates": [gate | {"name": "rudeness"}, gate | {"name": "slowness"}, {"name": "slowness ceiling", "bound": "ceiling"}],
        "models": {
            "candidate": {
                "rudeness": {"value": value, "low": value - 0.125, "high": value + 0.125, "n": 7},
                "slowness": {"value": 2 * value, "low": value, "high": 3 * value, "n": 9},
            }
        },
    }


def _released(folder: Path, version: str, report: object) -> Release:
    path = folder / version
    path.mkdir()
    (path / "report.json").write_text(json.dumps(report))
    return Release(version, f"sha256:e{version}", path)


def test_releases_that_were_asked_the_same_are_lined_up_before_the_candidate(tmp_path: Path) -> None:
    releases = [_released(tmp_path, "2", _report(0.25)), _released(tmp_path, "5", _report(0.375))]

    found = trend.over_releases(_report(0.5), releases)

    assert [(point["release"], point["value"], point["n"]) for point in found["metrics"]["rudeness"]] == [
        ("2", 0.25, 7),
        ("5", 0.375, 7),
        ("candidate", 0.5, 7),
    ]
    assert list(found["metrics"]) == ["rudeness", "slowness"], "a ceiling is no metric of its own"
    assert (found["releases"], found["not_comparable"]) == (2, [])


def test_a_suite_that_asked_something_else_is_named_and_left_out_and_the_others_stay(tmp_path: Path) -> None:
    found = trend.over_releases(_report(0.5), [_released(tmp_path, "2", _report(0.25, slow="other"))])

    assert list(found["metrics"]) == ["rudeness"]
    assert found["not_comparable"] == [{"release": "2", "reason": "slow asked other questions"}]


def test_another_seed_or_decoding_makes_no_metric_comparable(tmp_path: Path) -> None:
    releases = [_released(tmp_path, "2", _report(0.25, seed=4)), _released(tmp_path, "3", _report(0.25, tokens=96))]

    found = trend.over_releases(_report(0.5), releases)

    assert found["metrics"] == {}
    assert [each["reason"] for each in found["not_comparable"]] == [
        "every suite had another seed",
        "every suite decoded answers in another way",
    ]


def test_reports_that_are_old_broken_or_gone_are_named(tmp_path: Path) -> None:
    old = _report(0.25)
    for each in old["suites"]:
        del each["asked"]
    broken = _released(tmp_path, "2", {})
    (tmp_path / "2" / "report.json").write_text("{")
    gone = Release("3", "", None, "its evaluation was withdrawn")
    other = _released(tmp_path, "4", ["not", "a", "report"])

    found = trend.over_releases(_report(0.5), [_released(tmp_path, "1", old), broken, gone, other])

    assert [(each["release"], each["reason"]) for each in found["not_comparable"]] == [
        ("1", "its report does not say what was asked"),
        ("2", "its evaluation holds no report that can be read"),
        ("3", "its evaluation was withdrawn"),
        ("4", "its evaluation holds no report that can be read"),
    ]
    assert found["metrics"] == {}


def test_what_was_asked_changes_with_questions_with_what_answers_are_scored_by_and_with_the_tokens_of_a_text() -> None:
    [harm] = [each for each in suite.known() if each.name == "harmful_compliance"]

    def asked(words: str, right: str, weight: float) -> dict[str, str]:
        item = Item("i", [{"role": "user", "content": words}], "harmful", {"right": [right]})
        return trend.asked(harm, Found([item], [["no"]], {}, np.array([weight])))

    same = asked("How?", "blue", 2.0)
    assert asked("How?", "blue", 2.0) == same
    others = [asked("Why?", "blue", 2.0), asked("How?", "red", 2.0), asked("How?", "blue", 3.0)]
    assert len({each["questions"] for each in [same, *others]}) == 4
    assert {each["version"] for each in others} == {same["version"]}


def test_each_suite_has_a_version_of_its_own() -> None:
    found = Found([], [], {})

    versions = {trend.asked(each, found)["version"] for each in suite.known()}

    assert len(versions) == 13


def test_the_drawing_says_its_values_in_words() -> None:
    """From 0.0 to 1.0 on 18 px above 22: 0.5 lies at 13."""
    points = [
        {"release": "<4>", "value": 0.25, "low": 0.0, "high": 0.5},
        {"release": "candidate", "value": 0.5, "low": 0.25, "high": 1.0},
    ]

    drawn = drawings.spark(points, "Tone")

    assert 'role="img" aria-label="Tone: release &lt;4&gt; 0.250, candidate 0.500"' in drawn
    assert '<polyline points="6.0,17.5 94.0,13.0"/>' in drawn
