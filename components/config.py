"""Typed settings: one section a step, one text and one range a setting.

A step's settings are the class `Settings` of `components/STEP/config.py`. Together with the seed they make a `Config`,
which `start` logs and every later step reads back; a step uses exactly what was logged. The JSON schema of each setting
is a field of the DAG's trigger form.
"""

from __future__ import annotations

import difflib
import importlib
import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.catalog import STEPS
from components.errors import ConfigRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEED_MAX = 2**31 - 1
SHARED = {"alignment": "components.alignment"}
"""Sections that belong to no step alone, and the module of each."""


class Section(BaseModel):
    """Base of every step's settings: immutable, nothing unknown; the text under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, strict=True)


@dataclass(frozen=True)
class Config:
    """All settings of a pipeline run."""

    seed: int
    sections: Mapping[str, Section]

    def dump(self) -> dict[str, Any]:
        """`{"seed": 1, "sft": {...}, ...}`, defaults included."""
        return {"seed": self.seed} | {name: section.model_dump(mode="json") for name, section in self.sections.items()}


@dataclass(frozen=True)
class Setting:
    """One setting, for forms and documentation."""

    name: str
    """Dotted: `sft.learning_rate`."""
    schema: dict[str, Any]
    default: Any
    description: str


def section_names() -> list[str]:
    """The sections there are: the shared ones, then one a step in pipeline order."""
    return [*SHARED, *STEPS]


def section_class(step: str) -> type[Section]:
    """The settings class of a section. Imports `components.STEP.config`, or the shared section's file, and nothing heavier."""
    settings: type[Section] = importlib.import_module(SHARED.get(step, f"components.{step}.config")).Settings
    return settings


def load(values: Mapping[str, Any], *, where: str) -> Config:
    """Settings from a mapping, nested (`{"sft": {"epochs": 1}}`) or dotted (`{"sft.epochs": 1}`), or both.

    Args:
        values: What differs from the defaults.
        where: Where the values come from, for the error message.

    Raises:
        ConfigRefused: Something is unknown, mistyped or out of range. All problems are listed, sorted.
    """
    nested, problems = _nest(values, where)
    seed = nested.pop("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= SEED_MAX:
        problems.append(f"{where} > seed must be a whole number from 0 to {SEED_MAX}, found {seed!r}.")
        seed = 0
    sections: dict[str, Section] = {}
    for name in section_names():
        try:
            sections[name] = section_class(name).model_validate_json(json.dumps(nested.pop(name, {})))
        except ValidationError as error:
            problems += [_explain(problem, name, where) for problem in error.errors(include_url=False)]
    problems += [f"{where} has an unknown section `{name}`.{_near(name, [*section_names(), 'seed'])}" for name in nested]
    if problems:
        raise ConfigRefused("\n".join(sorted(problems)))
    return Config(seed, sections)


def load_toml(path: Path) -> dict[str, Any]:
    """The values in a TOML file, unchecked.

    Raises:
        ConfigRefused: No such file, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"There is no config file {path}. The ones that come with Plumbline are in configs/."
        raise ConfigRefused(message) from None
    except tomllib.TOMLDecodeError as error:
        message = f"{path} is not TOML: {error}. Mend the line it names."
        raise ConfigRefused(message) from None


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"sft": {"epochs": 1}}` → `{"sft.epochs": 1}`, as a trigger form and `dag_run.conf` carry it."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{field}": inner for field, inner in value.items()}
        else:
            flat[name] = value
    return flat


def settings() -> list[Setting]:
    """Every setting there is: `seed`, the shared sections, then by step in pipeline order."""
    seed = {"type": "integer", "minimum": 0, "maximum": SEED_MAX}
    found = [Setting("seed", seed, 0, "Seed of everything random in the run.")]
    for name in section_names():
        schema = section_class(name).model_json_schema()
        defaults = section_class(name)().model_dump(mode="json")
        for field, spec in schema.get("properties", {}).items():
            plain = {key: value for key, value in spec.items() if key not in {"default", "description", "title"}}
            found.append(Setting(f"{name}.{field}", plain, defaults[field], spec.get("description", "")))
    return found


def documentation() -> str:
    """`docs/configuration.md`: every setting with its default, what is accepted, and its text."""
    lines = [
        "# Configuration",
        "",
        "Made by `python -m components.config`; a test keeps it true. A TOML file holds one table per section, for example",
        "`configs/testbed.toml`; the trigger form in Airflow has one field per setting.",
    ]
    section = None
    for setting in settings():
        step, _, name = setting.name.rpartition(".")
        if step != section:
            section = step
            title = f"## `{step}`" if step else "## The run"
            lines += ["", title, "", "| setting | default | accepted | meaning |", "| --- | --- | --- | --- |"]
        text = " ".join(setting.description.split()).replace("|", "\\|")
        lines.append(f"| `{name}` | `{json.dumps(setting.default)}` | {_accepted(setting.schema)} | {text} |")
    return "\n".join(lines) + "\n"


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "multipleOf": "multiple of"}


def _accepted(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    bounds = [f"{sign} {schema[name]}" for name, sign in _BOUNDS.items() if name in schema]
    return ", ".join([str(schema.get("type", "")), *bounds])


def _nest(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    nested: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in values.items():
        step, dot, setting = key.partition(".")
        if dot:
            nested.setdefault(step, {})[setting] = value
        elif step in section_names() and isinstance(value, dict):
            nested.setdefault(step, {}).update(value)
        elif step in section_names():
            problems.append(f"{where} > {step} must be a table of settings, found {value!r}.")
        else:
            nested[step] = value
    return nested, problems


def _explain(problem: Any, step: str, where: str) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    known = list(section_class(step).model_fields)
    if problem["type"] == "extra_forbidden":
        listed = ", ".join(sorted(known)) or "none"
        return f"{step} in {where} has an unknown setting `{name}`.{_near(name, known)} Known: {listed}."
    return f"{step} in {where}: `{name}` {_lower(problem['msg'])}, found {problem['input']!r}."


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


def _lower(message: str) -> str:
    return message.replace("Input should be", "must be", 1)


if __name__ == "__main__":
    print(documentation(), end="")  # noqa: T201  (a command line)
