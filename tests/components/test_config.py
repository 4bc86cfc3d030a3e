from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from components import config
from components.catalog import STEPS
from components.errors import ConfigRefused

if TYPE_CHECKING:
    from pathlib import Path


def _refusal(values: dict[str, object]) -> str:
    with pytest.raises(ConfigRefused) as refusal:
        config.load(values, where="align.toml")
    return str(refusal.value)


def test_nested_and_dotted_values_mean_the_same() -> None:
    nested = config.load({"seed": 7, "approve": {"reason_chars": 30}}, where="here")
    dotted = config.load({"seed": 7, "approve.reason_chars": 30}, where="here")

    assert nested == dotted
    assert nested.dump()["approve"]["reason_chars"] == 30
    assert nested.dump()["approve"]["allow_override"] is False


def test_a_dump_loads_back_to_the_same_config() -> None:
    loaded = config.load({"seed": 3, "deploy.smoke_prompts": 9}, where="here")

    assert config.load(loaded.dump(), where="there") == loaded


def test_flatten_undoes_nesting() -> None:
    assert config.flatten({"seed": 1, "sft": {"epochs": 2}}) == {"seed": 1, "sft.epochs": 2}


def test_an_unknown_setting_is_refused_with_the_near_name() -> None:
    assert _refusal({"approve.reason_char": 12}) == (
        "approve in align.toml has an unknown setting `reason_char`. "
        "Did you mean `reason_chars`? Known: allow_override, approvers, four_eyes, reason_chars, two_approvers."
    )


def test_an_unknown_section_is_refused_with_the_near_name() -> None:
    assert _refusal({"depoly": {"smoke_prompts": 2}}) == "align.toml has an unknown section `depoly`. Did you mean `deploy`?"


def test_all_problems_are_listed_at_once_sorted() -> None:
    lines = _refusal({"seed": -1, "approve.reason_chars": "long", "deploy.smoke_prompts": 0}).splitlines()

    assert lines == [
        "align.toml > seed must be a whole number from 0 to 2147483647, found -1.",
        "approve in align.toml: `reason_chars` must be a valid integer, found 'long'.",
        "deploy in align.toml: `smoke_prompts` must be greater than or equal to 1, found 0.",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "3"])
def test_a_number_that_is_no_whole_number_is_refused(value: object) -> None:
    assert "`reason_chars`" in _refusal({"approve.reason_chars": value})


def test_a_section_that_is_no_table_is_refused() -> None:
    assert _refusal({"approve": 3}) == "align.toml > approve must be a table of settings, found 3."


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"There is no config file .*/no\.toml\. The ones that come with Plumbline are"):
        config.load_toml(tmp_path / "no.toml")


def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("seed = 1\nseed 2\n")

    with pytest.raises(ConfigRefused, match=r"bad\.toml is not TOML: .*line 2"):
        config.load_toml(tmp_path / "bad.toml")


def test_every_setting_has_a_text_a_default_and_a_schema() -> None:
    for setting in config.settings():
        assert len(setting.description) > 10, setting.name
        assert setting.default is not None, setting.name
        assert {"type", "enum", "const"} & setting.schema.keys(), setting.name


def test_every_step_has_settings() -> None:
    for step in STEPS:
        assert issubclass(config.section_class(step), config.Section)
