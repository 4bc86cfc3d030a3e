"""Settings of `validate`."""

from __future__ import annotations

from pydantic import Field

from components.config import Section


class Settings(Section):
    """How much bad data is too much."""

    max_quarantined_share: float = Field(0.05, ge=0, le=1)
    """Largest share of a table's rows that may be quarantined before the data is refused. [fraction]"""

    near_duplicate: float = Field(0.8, ge=0.5, le=1)
    """How much of their words in threes two prompts share to count as nearly the same: members of both over members of
    either. [fraction]"""

    max_near_duplicates: float = Field(1.0, ge=0, le=1)
    """Largest share of the prompts kept from training that may be nearly the same as a prompt of another split before the data
    is refused; 1 only counts and lists them. [fraction]"""

    telephone_region: str = Field("US", pattern="^[A-Z]{2}$")
    """Country (ISO 3166) whose telephone numbers are looked for without +; those with + always are."""

    max_personal_data: float = Field(1.0, ge=0, le=1)
    """Largest share of a table's rows that may hold a pattern of personal data before the data is refused; 1 only counts and
    lists them. [fraction]"""

    languages: tuple[str, ...] = ("en",)
    """Languages that texts may be in, as ISO 639 codes; others are counted. What looks for agreement, doubts and refusals knows
    English only."""

    max_other_language: float = Field(1.0, ge=0, le=1)
    """Largest share of a table's rows that may be in another language before the data is refused; 1 only counts them. Of large
    tables a thousand rows are looked at. [fraction]"""

    max_position_share: float = Field(0.8, ge=0.5, le=1)
    """Largest share of decided labels for the answer shown first, and likewise for the second, before the data is refused: more
    would teach the place. The same for golden pairs. [fraction]"""

    max_tie_share: float = Field(0.6, ge=0, le=1)
    """Largest share of ties among the labels before the data is refused. [fraction]"""

    drift_warns: float = Field(0.1, gt=0, le=100)
    """Difference of a feature from the last accepted data version, as population stability index, beyond which it is
    reported as drifted. 0.1 is the usual limit for some, 0.25 for much. [PSI]"""

    drift_refuses: float = Field(100.0, gt=0, le=100)
    """The same, beyond which the data is refused; 100 never refuses. [PSI]"""

    max_characters: int = Field(100_000, ge=100, le=1_000_000)
    """Longest text of one message or response. [characters]"""
