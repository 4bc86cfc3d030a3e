"""Settings of `approve`."""

from __future__ import annotations

from pydantic import Field

from components.config import Section


class Settings(Section):
    """What a person's answer must hold to count."""

    reason_chars: int = Field(10, ge=1, le=2000)
    """Shortest reason that is accepted. [characters]"""

    allow_override: bool = False
    """Whether a person may approve a candidate whose gates did not pass. Recorded as an override; never unattended."""

    four_eyes: bool = True
    """Whoever started the run may not approve it, and the answer must come from somebody whom Airflow authenticated. A
    terminal authenticates nobody, so `make run` with configs/testbed.toml sets this to false, and the record says so."""

    two_approvers: bool = False
    """Whether two persons must approve, as Article 14(5) of the EU AI Act asks of some high-risk systems."""

    approvers: list[str] = Field(default_factory=list)
    """Who may approve, by user name. Empty: whoever Airflow lets answer."""
