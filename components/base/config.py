"""Settings of `base`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.config import Section


class Settings(Section):
    """Where the base model comes from, and how one is trained from scratch."""

    source: Literal["scratch", "folder", "hub"] = "scratch"
    """`scratch` trains a tiny model on the validated corpus, `folder` takes a local folder, `hub` a repository at a pinned
    revision."""

    location: str = ""
    """The folder, relative to PLUMBLINE_DATA_ROOT, or the hub repository (`organisation/name`). Empty for `scratch`."""

    revision: str = Field("", pattern=r"^([0-9a-f]{40})?$")
    """Commit of the hub repository, 40 hex digits. A branch or tag can move, so neither is taken."""

    vocabulary: int = Field(1024, ge=300, le=65536)
    """Size of the byte-level BPE vocabulary trained from scratch. [tokens]"""

    hidden: int = Field(128, ge=16, le=4096, multiple_of=8)
    """Width of the model trained from scratch."""

    layers: int = Field(4, ge=1, le=64)
    """Depth of the model trained from scratch."""

    heads: int = Field(4, ge=1, le=64)
    """Attention heads; must divide `hidden`."""

    context_tokens: int = Field(128, ge=32, le=8192)
    """Longest sequence of the model trained from scratch. [tokens]"""

    epochs: float = Field(1.0, gt=0, le=100)
    """Passes over the corpus."""

    max_updates: int = Field(4000, ge=1, le=1_000_000)
    """Ends training from scratch earlier than `epochs` would. [updates]"""

    batch_rows: int = Field(4, ge=1, le=4096)
    """Packed sequences of `context_tokens` in one update. Few: a tiny model learns its facts from many small updates; with
    16 instead of 4 it stays fluent and knows nothing. [sequences]"""

    learning_rate: float = Field(3e-3, gt=0, le=1)
    """Peak of the cosine schedule, after a warm-up of 5 % of the updates."""
