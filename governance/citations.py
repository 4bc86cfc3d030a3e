"""What a document states, with its sources numbered; and what it could not state, as gaps.

While a template is rendered, marks are tokens of private characters, which no data can contain; `marked_html` and
`marked_markdown` turn them into links once all documents are rendered and the gaps have their numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from governance import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from governance.facts import Fact, Facts, Source

OPEN, CLOSE = "\ue000", "\ue001"
TOKEN = re.compile(f"{OPEN}([mgve])(\\d+){CLOSE}")
INTERVAL = "95 % interval"
ORGANISATION = "the organisation"


@dataclass
class Gap:
    """Something that a document should state and can't."""

    name: str
    reason: str
    documents: set[str] = field(default_factory=set)

    @property
    def owner(self) -> str:
        """Who can close it."""
        step = self.name.partition(".")[0]
        return (
            ORGANISATION if step == "system" else "the pipeline" if step in {"computed", "release", "pack"} else f"step {step}"
        )


@dataclass
class Ledger:
    """All gaps of a pack, over all its documents."""

    gaps: dict[str, Gap] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, reason: str, document: str = "") -> int:
        """Note a gap; returns its place, which stays."""
        gap = self.gaps.setdefault(name, Gap(name, reason))
        self._numbers = {}
        if document:
            gap.documents.add(document)
        return list(self.gaps).index(name)

    def numbered(self, document: str = "") -> list[tuple[int, Gap]]:
        """The gaps, of one document or of all, numbered from 1 by name; those that the organisation can close come last."""
        if not self._numbers:
            ordered = sorted(self.gaps.values(), key=lambda gap: (gap.owner == ORGANISATION, gap.name))
            self._numbers = {gap.name: number for number, gap in enumerate(ordered, start=1)}
        found = [(number, self.gaps[name]) for name, number in self._numbers.items()]
        return [(number, gap) for number, gap in found if not document or document in gap.documents]

    def number(self, place: int) -> int:
        """The number of the gap that `add` put at `place`."""
        self.numbered()
        return self._numbers[list(self.gaps)[place]]


@dataclass(frozen=True)
class Mark:
    """A numbered source of one document."""

    number: int
    name: str
    source: Source
    value: Any
    unit: str = ""
    n: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def exact(self) -> str:
        """The value as the file has it."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    @property
    def interval(self) -> str:
        """On how many, and how sure; empty where neither is recorded."""
        n = "" if self.n is None else f"n = {self.n}"
        ends = "" if self.low is None or self.high is None else f"{INTERVAL} {self.low!r} to {self.high!r}"
        return ", ".join(part for part in (n, ends) if part)


@dataclass
class Citations:
    """The sources of one document, in the order of their first use."""

    document: str
    facts: Facts
    ledger: Ledger
    escaped: Callable[[Any], Markup]
    marks: dict[str, Mark] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    """Names of the facts whose values the document prints, one for each time."""

    def cite(self, name: str, *, interval: bool = False) -> Markup:
        """A fact's value and its mark; where there is no such fact, a gap."""
        fact = self.facts.get(name)
        if fact is None:
            return self.gap(name)
        if fact.low is None or fact.high is None:
            return self._value(name, fact.value) + self._mark(name, fact)
        text = self._value(name, escape.to_places(fact.value))
        if interval:
            ends = (
                self._value(self._end(name, end), escape.to_places(value))
                for end, value in (("low", fact.low), ("high", fact.high))
            )
            text = Markup("{} ({} {} to {})").format(text, INTERVAL, *ends)
        return text + self._mark(name, fact)

    def show(self, name: str) -> Markup:
        """A fact's value without a mark of its own, in a row that carries the mark of the whole record."""
        fact = self.facts.get(name)
        if fact is None:
            return self.gap(name)
        return self._value(name, repr(fact.value) if isinstance(fact.value, float) else fact.value)

    def unit(self, name: str) -> Markup:
        """The unit of a fact, as small print after its value; nothing where it has none."""
        fact = self.facts.get(name)
        return Markup(' <span class="unit">{}</span>').format(self.escaped(fact.unit)) if fact and fact.unit else Markup()

    def record(self, step: str) -> Markup:
        """The mark of a step's whole record."""
        mark = self.marks.setdefault(step, Mark(len(self.marks) + 1, step, self.facts.sources[step], "the whole record"))
        return _token("m", mark.number)

    def gap(self, name: str) -> Markup:
        """Words that say that something is missing, and an entry in the ledger."""
        place = self.ledger.add(self.facts.gap_name(name), self.facts.why_missing(name), self.document)
        return _token("g", place)

    def _value(self, name: str, value: Any) -> Markup:
        self.shown.append(name)
        return _token("v", len(self.shown) - 1) + self.escaped(value) + _token("e", 0)

    @staticmethod
    def _end(name: str, end: str) -> str:
        return f"{name.rpartition('.')[0]}.{end}"

    def _mark(self, name: str, fact: Fact) -> Markup:
        if name not in self.marks:
            about = {"unit": fact.unit, "n": fact.n, "low": fact.low, "high": fact.high}
            self.marks[name] = Mark(len(self.marks) + 1, name, fact.source, fact.value, **about)  # type: ignore[arg-type]
        return _token("m", self.marks[name].number)


def _token(kind: str, number: int) -> Markup:
    return Markup(f"{OPEN}{kind}{number}{CLOSE}")  # noqa: S704  (two constants and a number)


def marked_html(text: str, citations: Citations, *, gaps_at: str = "gaps.html") -> str:
    """Tokens as values that name their fact, and as links to the numbered sources of the page and to the ledger of gaps."""
    marks = {mark.number: mark for mark in citations.marks.values()}
    seen: set[int] = set()

    def link(found: re.Match[str]) -> str:
        kind, number = found.group(1), int(found.group(2))
        if kind == "v":
            name = citations.shown[number]
            state = citations.facts.facts[name].apart if name in citations.facts else ""
            apart = f' class="apart {state.partition(" ")[0]}"' if state else ""
            return f'<span data-fact="{escape.for_html(name)}"{apart}>'
        if kind == "e":
            return "</span>"
        if kind == "g":
            number = citations.ledger.number(number)
            return f'<a class="gap" href="{gaps_at}#gap-{number}">not recorded (gap {number})</a>'
        mark = marks[number]
        identity = "" if number in seen else f' id="mark-{number}"'
        seen.add(number)
        letter = {"declared": "D", "computed": "C"}.get(mark.source.kind, "")
        title = escape.for_html(f"Source {number}: {mark.source.file}{' ' if mark.source.pointer else ''}{mark.source.pointer}")
        opened = f'<a class="mark {mark.source.kind}"{identity} href="#source-{number}" title="{title}">'
        return f"<sup>{opened}{letter}{number}</a></sup>"

    return TOKEN.sub(link, text)


def marked_markdown(text: str, citations: Citations) -> str:
    """Tokens as footnotes."""

    def link(found: re.Match[str]) -> str:
        kind, number = found.group(1), int(found.group(2))
        if kind in "ve":
            return ""
        return f"not recorded (gap {citations.ledger.number(number)})" if kind == "g" else f"[^{number}]"

    return TOKEN.sub(link, text)
