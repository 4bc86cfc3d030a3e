"""How the gated metrics went over the last releases. Pure.

Two evaluations of a metric are comparable where the same suite asked the same questions, with the same code, seed and decoding:
each report says so by digests. A release that was asked something else is named with what differed, and not drawn.
What it does not cover: numbers of other machines, which round differently, and the noise of one seed; the intervals show that.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluate import suites
from components.stepkey import module_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from components.context import Release
    from components.evaluate.suite import Found, Suite

CANDIDATE = "candidate"
DIFFERS = {
    "questions": "asked other questions",
    "version": "was of another version",
    "seed": "had another seed",
    "decoding": "decoded answers in another way",
}
"""Part of what is compared → what a suite did, in words."""


def asked(suite: Suite, found: Found) -> dict[str, str]:
    """What a suite asked and how it scores, as digests: of its items with what they are scored by, and of its code."""
    weights = [] if found.weights is None else found.weights.tolist()
    items = [[item.id, item.messages, item.kind, item.prefix, item.facts] for item in found.items]
    text = json.dumps([items, weights], sort_keys=True, default=str)
    source = importlib.import_module(f"{suites.__name__}.{suite.name}").__file__
    assert source, "a suite is a file"
    return {"questions": "sha256:" + hashlib.sha256(text.encode()).hexdigest(), "version": module_digest(Path(source))}


def over_releases(report: Mapping[str, Any], releases: Sequence[Release]) -> dict[str, Any]:
    """The candidate's gated metrics after those of the releases, with what can't be compared and why.

    Args:
        report: This evaluation, as `report.as_json` and the step make it.
        releases: Oldest first.

    Returns:
        `releases` (how many), `metrics` (name → points with `release`, `value`, `low`, `high`, `n`; only those with more than
        the candidate's own point) and `not_comparable` (`release`, `reason`).
    """
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in _gated(report)}
    apart = []
    for release in releases:
        earlier, reasons = _read(release)
        known, differing = _comparable(report, earlier)
        for name, line in points.items():
            if name in known and (point := _point(earlier, name, release.version)):
                line.append(point)
        apart += [{"release": release.version, "reason": reason} for reason in [*reasons, *differing]]
    return {
        "releases": len(releases),
        "metrics": {
            name: [*each, own] for name, each in points.items() if each and (own := _point(report, name, CANDIDATE)) is not None
        },
        "not_comparable": apart,
    }


def _gated(report: Mapping[str, Any]) -> list[str]:
    return [gate["name"] for gate in report["gates"] if gate["bound"] == "margin"]


def _read(release: Release) -> tuple[dict[str, Any], list[str]]:
    """A release's own report; nothing, with the reason, where it can't be read."""
    if release.path is None:
        return {}, [release.problem]
    try:
        found: dict[str, Any] = json.loads((release.path / "report.json").read_text(encoding="utf-8"))
        knows = any(suite.get("asked") for suite in found["suites"])
        _comparable(found, found)
        _point(found, "", release.version)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}, ["its evaluation holds no report that can be read"]
    return (found, []) if knows else ({}, ["its report does not say what was asked"])


def _comparable(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """Metrics of the suites that asked the same, and in words what differed of the others, together where the same did."""
    theirs = {suite["name"]: suite for suite in earlier.get("suites", [])}
    known: set[str] = set()
    differing: dict[str, list[str]] = {}
    both = 0
    for suite in report["suites"]:
        other = theirs.get(suite["name"])
        if not other or not suite.get("asked") or not other.get("asked"):
            continue
        both += 1
        parts = _parts(report, suite), _parts(earlier, other)
        reasons = [words for part, words in DIFFERS.items() if parts[0][part] != parts[1][part]]
        if reasons:
            differing.setdefault(" and ".join(reasons), []).append(suite["title"])
        else:
            known.update(metric["name"] for metric in suite["metrics"])
    return known, list(_sentences(differing, every=both))


def _parts(report: Mapping[str, Any], suite: Mapping[str, Any]) -> dict[str, Any]:
    return suite["asked"] | {"seed": report["seed"], "decoding": report["decoding"]}


def _sentences(differing: Mapping[str, Sequence[str]], *, every: int) -> Iterator[str]:
    for reason, titles in differing.items():
        yield f"{'every suite' if len(titles) == every else _listed(titles)} {reason}"


def _listed(titles: Iterable[str]) -> str:
    return ", ".join(title.lower() for title in titles)


def _point(report: Mapping[str, Any], metric: str, release: str) -> dict[str, Any] | None:
    """What a policy had then; None where nothing was measured of it alone."""
    found = report["models"].get(CANDIDATE, {}).get(metric)
    return found and {"release": release, **found}
