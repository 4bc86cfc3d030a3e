"""The documents of a pack, in the order of the front page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from governance.words import Words

Form = Literal["html", "md"]


@dataclass(frozen=True)
class Document:
    """One document: a template that is rendered into a page and its JSON twin."""

    name: Words
    title: Words
    about: Words
    form: Form = "html"
    template: str = ""
    """Name of the template where it is not the document's own."""
    framework: str = ""
    """Key of the framework that a framework's page shows."""
    pdf: bool = False
    """Whether a sealed pack has it as PDF too."""

    @property
    def source(self) -> str:
        """File of the template."""
        return f"{self.template or self.name}.{self.form}.jinja"


def _document(name: str, title: str, about: str, **more: object) -> Document:
    return Document(Words(name), Words(title), Words(about), **more)  # type: ignore[arg-type]


def _framework(name: str, title: str, about: str, *, pdf: bool = False) -> Document:
    return _document(name, title, about, template="framework", framework=name, pdf=pdf)


FRONT = _document("index", "Governance pack", "Release, verdicts, gaps, coverage, how to verify", pdf=True)
GAPS = _document("gaps", "Gap ledger", "Everything that this pack should state and does not, and who can close it")
DOCUMENTS: tuple[Document, ...] = (
    FRONT,
    GAPS,
    _framework("annex_iv", "Technical documentation", "EU AI Act, Annex IV, every point and sub-point", pdf=True),
    _framework("ai_act", "AI Act, articles", "Risk management, data, logs, instructions, oversight, quality, after release"),
    _framework(
        "gpai",
        "General-purpose model documentation",
        "Annex XI, Annex XII, Model Documentation Form, public summary, one third",
        pdf=True,
    ),
    _framework("iso_42001", "Statement of Applicability", "ISO/IEC 42001, Annex A with evidence", pdf=True),
    _framework("nist_ai_rmf", "NIST AI RMF", "Functions and categories with evidence"),
    _document("model_card", "Model card", "Also in the format of Hugging Face", form="md", pdf=True),
    _document(
        "reward_model",
        "Reward-model card and register",
        "What the reward model is bound to, how well it ranks, every version",
        pdf=True,
    ),
    _document(
        "annotator_record",
        "Annotator-demographic record",
        "Who labelled the preference data, how far they agree, who was left out and why",
        pdf=True,
    ),
    _document("datasheet", "Datasheet of the preference data", "Gebru et al., every question, and its machine twin", pdf=True),
    _document("evaluation", "Evaluation report", "Gates, results, intervals, by kind of prompt", pdf=True),
    _document("risks", "Risk register", "The known risks of RLHF: measure, test, result in this release, what stays"),
    _document("oversight", "Human-oversight record", "Who decided, when, what was shown, what was answered", pdf=True),
    _document("changes", "Change log", "What differs from the release before"),
    _document("lineage", "Lineage", "From data to policy, every step with its run and digests"),
    _document("retention", "Logs and retention", "What is kept, where, for how long"),
    _document(
        "declaration", "EU declaration of conformity: unsigned draft", "What a declaration would have to say; not a declaration"
    ),
)


def named(name: str) -> Document:
    """The document of this name."""
    return next(document for document in DOCUMENTS if document.name == name)
