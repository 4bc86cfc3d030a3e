"""Requirements of laws and standards, and how far this release's evidence goes for each. The catalogue is in controls/.

A status says what evidence there is. It never says whether a requirement is met: people judge that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from governance import words
from governance.words import Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from governance.facts import Facts

FRAMEWORKS = ("annex_iv", "ai_act", "gpai", "iso_42001", "nist_ai_rmf")
FRESH, STALE, MISSING = Words("evidence fresh"), Words("evidence stale"), Words("evidence missing")
DECLARED, OPEN, NONE = Words("organisational: declared"), Words("organisational: open"), Words("not applicable")
STATUSES = (FRESH, STALE, MISSING, DECLARED, OPEN, NONE)


@dataclass(frozen=True)
class Evidence:
    """What a requirement asks of the pipeline."""

    label: Words
    pattern: str
    names: list[str]
    """The facts that it stands for; none where nothing was recorded."""


@dataclass(frozen=True)
class Requirement:
    """One requirement, and where this release stands."""

    id: Words
    group: Words
    title: Words
    summary: Words
    remains: Words
    kind: Words
    applies: list[tuple[Words, Words]]
    """Date and why that date."""
    evidence: list[Evidence]
    people: list[str]
    status: Words
    open: list[str] = field(default_factory=list)
    """Questions that nobody has answered."""
    stale: list[str] = field(default_factory=list)
    """Steps whose record is older than what it speaks of."""
    reason: str = ""
    """Fact that says why it does not apply."""

    @property
    def anchor(self) -> Words:
        """Its id as part of an address."""
        return Words("".join(letter if letter.isalnum() else "-" for letter in self.id).strip("-").lower())

    @property
    def badge(self) -> Words:
        """Class of its status. What waits for people is not green, whatever the pipeline recorded."""
        return Words(
            {FRESH: "open" if self.open else "pass", DECLARED: "pass", MISSING: "fail", NONE: "none"}.get(self.status, "open")
        )

    @property
    def partly(self) -> Words:
        """That people have not stated their part, where the status speaks of the pipeline's evidence; else empty."""
        return OPEN if self.open and self.evidence else Words("")

    @property
    def covered(self) -> bool:
        """Whether all evidence is there and fresh, and people have stated their part."""
        return self.status in {FRESH, DECLARED} and not self.open


@dataclass(frozen=True)
class Framework:
    """A law or standard, as far as a pipeline can serve it."""

    key: Words
    title: Words
    about: Words
    requirements: list[Requirement]

    @property
    def groups(self) -> list[tuple[Words, list[Requirement]]]:
        """The requirements by heading, in order."""
        names = dict.fromkeys(requirement.group for requirement in self.requirements)
        return [(name, [one for one in self.requirements if one.group == name]) for name in names]


def assess(facts: Facts) -> list[Framework]:
    """Every framework with the status of each requirement."""
    stale = stale_steps(facts)
    law = words.read("controls/law.yaml")
    return [_framework(name, facts, law, stale) for name in FRAMEWORKS]


def version() -> Words:
    """Version of the catalogue of laws."""
    found: Words = words.read("controls/law.yaml")["version"]
    return found


def sources() -> dict[str, Words]:
    """What the dates rest on."""
    found: dict[str, Words] = words.read("controls/law.yaml")["sources"]
    return found


def coverage(frameworks: list[Framework]) -> dict[str, Any]:
    """How many requirements have which status, for each framework and for all, and each requirement's own status."""
    tree: dict[str, Any] = {"catalogue": str(version())}
    every = [one for framework in frameworks for one in framework.requirements]
    for key, chosen in [*((str(framework.key), framework.requirements) for framework in frameworks), ("all", every)]:
        counts = {str(status): sum(one.status == status for one in chosen) for status in STATUSES}
        applicable = len(chosen) - counts[NONE]
        covered = sum(one.covered for one in chosen)
        tree[key] = {
            "status": {
                name.replace(":", "").replace(" ", "_"): {"value": n, "unit": "requirements"} for name, n in counts.items()
            },
            "applicable": {"value": applicable, "unit": "requirements"},
            "covered": {"value": covered, "unit": "requirements", "n": applicable},
        }
        if applicable:
            share = {"value": covered / applicable, "unit": "share of requirements", "n": applicable}
            tree[key]["coverage"] = share
    tree["requirements"] = {
        str(framework.key): {str(one.id): str(one.status) for one in framework.requirements} for framework in frameworks
    }
    return tree


def stale_steps(facts: Facts) -> set[str]:
    """Steps that read an artifact of which this release holds another version: what they say is of that other one."""
    written = {name: item.digest for record in facts.records.values() for name, item in record.outputs.items()}
    return {
        step
        for step, record in facts.records.items()
        if any(written.get(name, item.digest) != item.digest for name, item in record.inputs.items())
    }


def _framework(name: str, facts: Facts, law: Mapping[str, Any], stale: set[str]) -> Framework:
    raw = words.read(f"controls/{name}.yaml")
    found = [_requirement(entry, raw["duty"], facts, law, stale) for entry in raw["requirements"]]
    return Framework(raw["framework"], raw["title"], raw["about"], found)


def _requirement(entry: Mapping[str, Any], duty: Words, facts: Facts, law: Mapping[str, Any], stale: set[str]) -> Requirement:
    duty = entry.get("duty", duty)
    evidence = [Evidence(label, str(name), facts.matching(name)) for label, name in entry.get("evidence", [])]
    people = [str(name) for name in entry.get("people", [])]
    reason = _not_applicable(entry, duty, facts)
    old = sorted({name.partition(".")[0] for one in evidence for name in one.names} & stale)
    unanswered = [] if reason else [name for name in people if name not in facts]
    return Requirement(
        id=entry["id"],
        group=entry["group"],
        title=entry["title"],
        summary=entry["summary"],
        remains=entry["remains"],
        kind=entry["kind"],
        applies=_applies(law["duties"][duty], law["sources"], facts),
        evidence=evidence,
        people=people,
        status=NONE if reason else _status(evidence, unanswered, stale=bool(old)),
        open=unanswered,
        stale=old,
        reason=reason,
    )


def _status(evidence: list[Evidence], unanswered: list[str], *, stale: bool) -> Words:
    if not evidence:
        return OPEN if unanswered else DECLARED
    if not all(one.names for one in evidence):
        return MISSING
    return STALE if stale else FRESH


def _not_applicable(entry: Mapping[str, Any], duty: Words, facts: Facts) -> str:
    """The declaration by which a requirement does not apply; empty where it may."""
    if duty.startswith("high_risk") and facts.value("system.route") == "not_high_risk":
        return "system.route"
    if duty in {"gpai", "code"} and facts.value("system.gpai_role") == "none":
        return "system.gpai_role"
    if entry.get("systemic") and facts.value("system.gpai_systemic") == "no":
        return "system.gpai_systemic"
    return "" if entry.get("evidence") else _all_answered_so([str(name) for name in entry.get("people", [])], facts)


def _all_answered_so(people: list[str], facts: Facts) -> str:
    """The first of the questions, where the organisation answered each of them by `not applicable: WHY`; else empty."""
    answers = [facts.get(name) for name in people]
    return people[0] if people and all(answer and answer.apart == "not applicable" for answer in answers) else ""


def _applies(cases: list[Mapping[str, Words]], sources: Mapping[str, Words], facts: Facts) -> list[tuple[Words, Words]]:
    """The dates that hold for this system; all of them while route or placing date are not declared."""
    route, placed = facts.value("system.route"), facts.value("system.placed_on_market")
    chosen = [case for case in cases if "route" not in case or route not in {"annex_iii", "annex_i"} or case["route"] == route]
    dated = [case for case in chosen if "placed" not in case or not placed or _is_placed(str(case["placed"]), str(placed))]
    return [(case["from"], Words(f"{case['note']}. Source: {sources[case['source']]}")) for case in dated]


def _is_placed(case: str, placed: str) -> bool:
    when, _, date = case.partition(" ")
    return placed < date if when == "before" else placed >= date
