"""Settings of `validate`."""

from __future__ import annotations

from pydantic import Field

from components.config import Section


class Settings(Section):
    """How much bad data is too much."""

    max_quarantined_share: float = Field(0.05, ge=0, le=1)
    """Largest share of a table's rows that may be quarantined before the data is refused. [fraction]"""

    max_characters: int = Field(100_000, ge=100, le=1_000_000)
    """Longest text of one message or response. [characters]"""
