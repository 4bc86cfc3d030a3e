"""Settings of `document`."""

from __future__ import annotations

from pydantic import Field

from components.config import Section


class Settings(Section):
    """How the pack is rendered."""

    timeout_seconds: int = Field(300, ge=1, le=86_400)
    """Longest that rendering may take. [seconds]"""
