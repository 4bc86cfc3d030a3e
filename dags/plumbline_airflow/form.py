"""The trigger forms, made from the settings' JSON schemas.

A bad value is refused when the run is triggered, with the field's name. Airflow lets unknown names through; the step
`start` refuses those.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.sdk import Param

from components import config


def trigger_form() -> dict[str, Param]:
    """One field per setting: `sft.learning_rate`, with its text, range and default.

    The file that PLUMBLINE_CONFIG names, if any, gives other defaults.
    """
    path = os.environ.get("PLUMBLINE_CONFIG")
    other = config.flatten(config.load_toml(Path(path))) if path else {}
    return {setting.name: _field(setting, other.get(setting.name, setting.default)) for setting in config.settings()}


def release_form() -> dict[str, Param]:
    """Which candidate: the one that started the run, unless it is named."""
    text = "Pipeline run whose candidate is to be released. Empty: the one that started this run."
    two = "Ask a second person too. An announced candidate says so itself; `approve` refuses one answer where two are due."
    return {
        "pipeline_run": Param(None, type=["null", "string"], maxLength=250, description=text),
        "two_approvers": Param(False, type="boolean", description=two),  # noqa: FBT003  (Airflow's signature)
    }


def _field(setting: config.Setting, default: Any) -> Param:
    section, _, name = setting.name.rpartition(".")
    shape = dict(setting.schema)
    if default == "" and shape.get("type") == "string":
        # An empty field of the form arrives as null.
        shape["type"] = ["null", "string"]
    return Param(default, title=name, section=section or "run", description=setting.description, **shape)
