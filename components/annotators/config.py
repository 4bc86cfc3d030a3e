"""Settings of `annotators`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.config import Section
from components.disclosure import SMALLEST


class Settings(Section):
    """How annotators are judged, and what follows."""

    reliability: Literal["dawid_skene", "bradley_terry", "equal"] = "dawid_skene"
    """Model of labels: `dawid_skene` (each pair has a better answer), `bradley_terry` (each response has a quality, worth
    it where responses occur in several pairs), `equal` (every label counts the same; the audit is still made)."""

    exclusions: Literal["apply", "propose"] = "apply"
    """`apply`: labels of whom the audit names get weight 0. `propose`: they keep their weight until a person decides, in
    decisions.jsonl of the data version. Either way every proposal is recorded with its reason."""

    false_discovery_rate: float = Field(0.05, gt=0, le=0.2)
    """Largest expected share of honest people among the proposals, over all annotators and all checks together:
    half for copying, half for the other checks. https://doi.org/10.1111/j.2517-6161.1995.tb02031.x [fraction]"""

    least_labels: int = Field(15, ge=5, le=10_000)
    """Decided labels below which nobody is judged. [labels]"""

    prior_labels: float = Field(8.0, gt=0, le=1000)
    """How many labels the pool's average counts for in an annotator's confusion table. [labels]"""

    reading_words_per_second: float = Field(12.0, gt=1, le=100)
    """Faster than anybody reads; labels given in less time than both answers take count as too fast. [words/s]"""

    bootstrap: int = Field(400, ge=50, le=10_000)
    """Resamples for the intervals of agreement. [draws]"""

    smallest_cell: int = Field(SMALLEST, ge=SMALLEST, le=100)
    """Fewest people in a cell of a published margin; smaller ones are suppressed. [annotators]"""

    smallest_crossing: int = Field(10, ge=10, le=100)
    """The same for crossings of attributes and for special categories. [annotators]"""
