"""Settings of `deploy`."""

from __future__ import annotations

from pydantic import Field

from components.config import Section


class Settings(Section):
    """How a release is tried before it goes out."""

    smoke_prompts: int = Field(4, ge=1, le=100)
    """How many prompts of the evaluation's sample the deployed weights answer before the aliases move. [prompts]"""

    smoke_tokens: int = Field(48, ge=1, le=4096)
    """Longest answer to a smoke prompt. [tokens]"""

    serving_seconds: float = Field(600.0, gt=0, le=86400)
    """How long the gateway may take to start the release and try its canary prompts, before the release is taken back. [s]"""

    pdf: bool = True
    """Whether the sealed pack has its main documents as PDF too. Left out, and said so, where the library Pango is missing."""

    seal_seconds: float = Field(300.0, gt=0, le=3600)
    """How long rendering the sealed pack may take. [s]"""
