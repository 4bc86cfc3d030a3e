"""What was seen in accepted texts: patterns of personal data, and in which script prompts are written. No text is kept."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

from components import records
from components.validate import personal

if TYPE_CHECKING:
    from components.validate.personal import Found

LETTERS = 200
"""From the beginning of a prompt, looked at for its script."""


class Personal:
    """Looks for personal data in every text of every record; the same text is looked at once."""

    def __init__(self, region: str) -> None:
        """Telephone numbers without + are those of `region`."""
        self._region = region
        self._known: dict[str, list[Found]] = {}
        self._clean: set[int] = set()
        self.places: list[dict[str, Any]] = []
        """Table, id, part (which text of the record), kind, start and end of every finding."""
        self.texts = 0
        self.texts_with = 0

    def look(self, table: str, record: records.Record) -> bool:
        """Look at one record; whether something was found."""
        before = self.texts_with
        for part, text in enumerate(texts(record)):
            self.texts += 1
            if found := self._find(text):
                self.texts_with += 1
                name = getattr(record, "id", "")
                self.places += [{"table": table, "id": name, "part": part} | place._asdict() for place in found]
        return self.texts_with > before

    def kinds(self) -> dict[str, int]:
        """Kind → findings."""
        return dict(sorted(Counter(place["kind"] for place in self.places).items()))

    def _find(self, text: str) -> list[Found]:
        number = hash(text)
        if number in self._clean:
            return []
        if text not in self._known:
            found = personal.find(text, region=self._region)
            if not found:
                self._clean.add(number)
                return []
            self._known[text] = found
        return self._known[text]


def texts(record: Any) -> list[str]:
    """All texts of a record that people or models wrote."""
    if isinstance(record, records.Text):
        return [record.text]
    if isinstance(record, records.Comparison | records.GoldenPair):
        return list(record.responses)
    return [message.content for message in getattr(record, "messages", [])]


def script(text: str) -> str:
    """The script of most letters at the beginning of a text (`latin`, `cyrillic`, `cjk`, ...); `none` without letters.

    What it does not cover: languages that share a script.
    """
    names = (unicodedata.name(sign, "?").split()[0].lower() for sign in text[:LETTERS] if sign.isalpha())
    found = Counter(names).most_common(1)
    return found[0][0] if found else "none"
