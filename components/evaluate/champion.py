"""A champion of another base model: asked by itself, when the other models are done and their memory is free.

It reads the same words in its own chat template and tokens, with the same decoding and seed. Noise belongs to the tokens of a
vocabulary, so its answers are not coupled to the candidate's as those of one base's policies are: differences scatter more, and
intervals, which are taken over prompts, are wider for as many prompts. What does not differ: the prompts. One that leaves no
room for an answer in either model's context is put to neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.errors import ModelRefused
from components.evaluate.panel import Panel, Reading
from components.evaluate.report import CHAMPION

if TYPE_CHECKING:
    from components.context import Context, ModelVersion

FAULTS = (ModelRefused, OSError, ValueError, RuntimeError)
"""What loading a model that was made by earlier code may end with."""


@dataclass(frozen=True)
class Guest:
    """A champion of another base model."""

    version: ModelVersion
    reading: Reading | None
    """None where it can't be asked."""
    problem: str = ""
    """Why it can't."""

    def panel(self) -> Panel | str:
        """Its base model with it as the only policy, or why they can't be loaded."""
        if self.reading is None:
            return self.problem
        try:
            return Panel.load(self.reading.folder, {CHAMPION: self.version.path})
        except FAULTS as error:
            return _why(self.version, str(error))


def guest(context: Context[Any]) -> Guest | None:
    """The champion, where it belongs to another base model than the candidate; None where there is none of that kind."""
    champion = context.baseline
    if champion is None or champion.base_digest == context.input_digests.get("base_model", ""):
        return None
    if champion.base is None:
        return Guest(champion, None, _why(champion, champion.problem or "that base model is not at hand"))
    try:
        return Guest(champion, Reading.of(champion.base))
    except FAULTS as error:
        return Guest(champion, None, _why(champion, str(error)))


def _why(champion: ModelVersion, problem: str) -> str:
    named = f"policy version {champion.version}, belongs to another base model ({champion.base_digest or 'not recorded'})"
    return f"the champion, {named}, and can't be asked: {problem}"
