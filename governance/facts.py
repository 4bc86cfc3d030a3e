"""Named facts, each with its source: from evidence records, from the release's file, from what the organisation declared.

Computed facts (sums over facts, coverage) come last; each names the facts it was computed of.
A fact's name is its path: `evaluate.measurements.utility_candidate.value` lies in the record of `evaluate` under
/measurements/utility_candidate/value. A dot or percent sign inside a key is written %2E or %25, so that no key can pass for
a path. What is absent, null, empty or "not recorded" is no fact; zero and false are.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from components import evidence
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ABSENT = ("", "not recorded")
"""Texts by which a record says that it does not know."""
APART_FROM_STEPS = {"system", "release", "computed", "controls", "previous"}
Kind = Literal["measured", "declared", "computed"]
MEASURED = ("value", "accuracy")
"""Names of numbers whose unit, count and interval stand beside them."""
STAR = re.compile(r"\.\*(\..*)?$")
"""What of a pattern stands below one name: `a.b.*.c` asks for something below `a.b`."""
QUESTIONS = Path(__file__).parent / "system.yaml"
APART = ("not applicable", "withheld")
"""How a declaration begins that is an answer without being a value; a colon and the reason follow."""


@dataclass(frozen=True)
class Source:
    """Where a fact is written."""

    kind: Kind
    """`measured`: by a step. `declared`: by a person, for the organisation. `computed`: here, of other facts."""
    step: str
    run: str
    """MLflow run of the step; empty for a declaration."""
    file: str
    """Path in the pack."""
    sha256: str
    pointer: str
    """JSON pointer of the value in the file."""


@dataclass(frozen=True)
class Fact:
    """A value that some record holds."""

    name: str
    value: Any
    source: Source
    unit: str = ""
    n: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def apart(self) -> str:
        """`not applicable` or `withheld`, where a declaration says so instead of giving a value; else empty."""
        if self.source.kind != "declared":
            return ""
        return next((state for state in APART if str(self.value).startswith(f"{state}:")), "")


@dataclass(frozen=True)
class Question:
    """Something that only the organisation knows."""

    name: str
    asks: str
    basis: str
    """Why it is asked for."""
    choices: tuple[str, ...] = ()
    """Which answers there are; any where empty."""


@dataclass
class Facts:
    """Everything that documents may state."""

    records: dict[str, evidence.Evidence]
    """By step."""
    facts: dict[str, Fact] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    """STEP.NAME → why a step did not record it."""
    questions: dict[str, Question] = field(default_factory=dict)
    """`system.NAME` → what is asked of the organisation, answered or not."""
    sources: dict[str, Source] = field(default_factory=dict)
    """Step → its whole record."""

    def get(self, name: str) -> Fact | None:
        """The fact of this name, or None."""
        return self.facts.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self.facts

    def value(self, name: str, otherwise: Any = None) -> Any:
        """A fact's value, for sorting and choosing. What a document states is cited instead."""
        found = self.facts.get(name)
        return otherwise if found is None else found.value

    def matching(self, pattern: str) -> list[str]:
        """Names of facts that a pattern stands for; `*` stands for any text inside one part of a name."""
        if "*" not in pattern:
            return [pattern] if pattern in self.facts else []
        fits = re.compile(re.escape(pattern).replace(r"\*", "[^.]*")).fullmatch
        begin = pattern.partition("*")[0]
        return [name for name in self.facts if name.startswith(begin) and fits(name)]

    def add_computed(self, name: str, file: str, tree: Mapping[str, Any]) -> str:
        """Make what was computed here citable; returns the text of the file that holds it."""
        text = json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        source = Source("computed", name, "", file, hashlib.sha256(text.encode()).hexdigest(), "")
        _add(self, name, json.loads(text), source)
        return text

    def children(self, name: str) -> list[str]:
        """The next parts of the names below `name`, in the record's order."""
        prefix = f"{name}."
        found = (fact.removeprefix(prefix).split(".")[0] for fact in self.facts if fact.startswith(prefix))
        return list(dict.fromkeys(found))

    def gap_name(self, name: str) -> str:
        """What is missing: the whole record, or what a step said that it did not record, or the fact itself."""
        name = STAR.sub("", name)
        step, _, rest = name.partition(".")
        if step not in self.records and step not in APART_FROM_STEPS:
            return step
        if gate := self._gate(name):
            return f"{step}.gates.{self.value(f'{gate}.name')}"
        said = (f"{step}.{part}" for part in rest.split("."))
        known = next((gap for gap in said if gap in self.gaps), name)
        return next((gap for gap in self.gaps if step == "computed" and gap.rsplit(".", 1)[-1] in name.split(".")[-2]), known)

    def _gate(self, name: str) -> str:
        """The gate that a name lies below, where its record has a name: what one lacks is one gap, however much it is."""
        gate = ".".join(name.split(".")[:4])
        return gate if gate.startswith("evaluate.facts.gates.") and f"{gate}.name" in self else ""

    def why_missing(self, name: str) -> str:
        """Why there is no fact of this name."""
        gate = self._gate(name)
        if gate and f"{gate}.value" not in self and f"{gate}.text" in self:
            return str(self.value(f"{gate}.text")).rstrip(".")
        if name in self.questions:
            question = self.questions[name]
            return f"not stated in system.yaml: {question.asks} ({question.basis})"
        gap = self.gap_name(name)
        step, _, rest = STAR.sub("", name).partition(".")
        if gap in self.gaps:
            return self.gaps[gap]
        reasons = {
            "release": f"whoever rendered this pack did not state {rest}",
            "previous": "there is no earlier release whose record holds it",
            "computed": "what it is computed of was not recorded",
        }
        if step not in self.records and step not in APART_FROM_STEPS:
            return f"the step `{step}` left no evidence record"
        return reasons.get(step, f"the evidence record of `{step}` does not hold {rest}")


def load(folder: Path, *, system: Path, release: Path | None = None, previous: Path | None = None) -> Facts:
    """The facts of a release.

    Args:
        folder: Evidence records, `STEP.json` each.
        system: What only the organisation knows, see governance/system.yaml.
        release: `pipeline_run` and `versions` (registered model → version), where known.
        previous: Evidence records of the release before; their facts begin with `previous.`.

    Raises:
        ArtifactRefused: A file is not what it should be.
    """
    facts = Facts({path.stem: _record(path) for path in sorted(folder.glob("*.json"))})
    if not facts.records:
        message = f"{folder} holds no evidence record. Give the folder of STEP.json files that the pipeline exported."
        raise ArtifactRefused(message)
    for step, record in sorted(facts.records.items()):
        path = folder / f"{step}.json"
        source = Source("measured", step, record.run, f"evidence/{step}.json", _digest(path), "")
        facts.sources[step] = source
        _add(facts, step, asdict(record), source)
        facts.gaps |= {f"{step}.{name}": str(reason) for name, reason in record.gaps.items()}
    for path in sorted(previous.glob("*.json")) if previous else []:
        record = _record(path)
        source = Source("measured", record.step, record.run, f"previous/{path.name}", _digest(path), "")
        _add(facts, f"previous.{record.step}", asdict(record), source)
    if release:
        source = Source("measured", "document", "", "release.json", _digest(release), "")
        _add(facts, "release", _read_json(release), source)
    _declare(facts, system)
    return facts


def _record(path: Path) -> evidence.Evidence:
    """A record, in the file that is named after its step."""
    record = evidence.read(path)
    if record.step != path.stem:
        message = (
            f"{path.name} holds the record of the step {record.step!r}. Each record is in STEP.json; export the evidence again."
        )
        raise ArtifactRefused(message)
    return record


def _add(facts: Facts, name: str, value: Any, source: Source) -> None:
    for path, leaf, parent in _leaves(value, (), None):
        dotted = ".".join((name, *(part.replace("%", "%25").replace(".", "%2E") for part in path)))
        at = Source(source.kind, source.step, source.run, source.file, source.sha256, _pointer(path))
        about: Mapping[str, Any] = parent if path[-1] in MEASURED and isinstance(parent, dict) else {}
        extra = {part: about.get(part) for part in ("n", "low", "high")}
        facts.facts[dotted] = Fact(dotted, leaf, at, unit=str(about.get("unit") or ""), **extra)


def _leaves(value: Any, path: tuple[str, ...], parent: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)), value)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(place)), value)
    elif value is not None and value not in ABSENT:
        yield path, value, parent


def _pointer(path: tuple[str, ...]) -> str:
    """RFC 6901."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _declare(facts: Facts, path: Path) -> None:
    """Answers become facts, unanswered questions gaps. The questions are ours, whatever the file says of them.

    Raises:
        ArtifactRefused: The file is not a table of known questions with a `value` each.
    """
    asked, answers = questions(QUESTIONS), questions(path)
    facts.questions = {f"system.{name}": _question(name, entry) for name, entry in asked.items()}
    digest = _digest(path)
    for name, entry in answers.items():
        question = facts.questions.get(f"system.{name}")
        if question is None:
            near = get_close_matches(name, asked, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            message = f"{path.name} has an unknown question `{name}`.{hint} governance/system.yaml lists the known ones."
            raise ArtifactRefused(message)
        answer = str(entry.get("value") or "").strip()
        if answer in APART or answer.removesuffix(":") in APART:
            wanted = "and why" if answer.startswith("not") else "and the basis"
            message = f"{path.name} > {name}: {answer!r} says no more. Write `{answer.removesuffix(':')}: ` {wanted}."
            raise ArtifactRefused(message)
        if answer and question.choices and answer.partition(":")[0] not in {*question.choices, *APART}:
            message = (
                f"{path.name} > {name}: expected one of {', '.join(question.choices)}, found {answer!r}. Correct the value."
            )
            raise ArtifactRefused(message)
        if answer:
            source = Source("declared", "", "", "declared/system.yaml", digest, f"/{name}/value")
            facts.facts[question.name] = Fact(question.name, answer, source)


def _question(name: str, entry: Mapping[str, Any]) -> Question:
    choices = tuple(str(choice) for choice in entry.get("choices") or ())
    return Question(f"system.{name}", str(entry["asks"]).strip(), str(entry["basis"]).strip(), choices)


def questions(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a file of declarations.

    Raises:
        ArtifactRefused: It is not a table of tables that governance/system.schema.json allows.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path.name} is not YAML ({str(error).splitlines()[0]}). Start again from governance/system.yaml."
        raise ArtifactRefused(message) from None
    if not isinstance(entries, dict):
        message = f"{path.name} is not a table of questions. Start again from governance/system.yaml."
        raise ArtifactRefused(message)
    for name, entry in entries.items():
        known = {"asks", "basis", "choices", "value"}
        if not isinstance(entry, dict) or "value" not in entry or set(entry) - known:
            message = f"{path.name} > {name}: expected a table with `value` and no fields but {', '.join(sorted(known))}."
            raise ArtifactRefused(message)
        if not isinstance(entry["value"], str | None):
            message = f"{path.name} > {name} > value: expected text, found {entry['value']!r}. Put it in quotes."
            raise ArtifactRefused(message)
    return entries


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        message = f"{path.name} is not JSON: {error.msg} at line {error.lineno}. Render the pack again."
        raise ArtifactRefused(message) from None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
