"""Settings of `start`."""

from __future__ import annotations

from pydantic import Field

from components.config import Section


class Settings(Section):
    """Which data a pipeline run is made from."""

    data_folder: str = Field("data", min_length=1)
    """Folder with the preference data, relative to PLUMBLINE_DATA_ROOT (by default the working folder)."""

    data_pin: str = Field("data.dvc", min_length=1)
    """DVC file that pins the folder's content. The run is refused when they differ."""
