"""From facts to a pack: compute, assess, render every document, number sources and gaps, write the files, seal them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from governance import bom, compute, croissant, escape, facts, graph, law, lists, pack, people, plots, search, statements, views
from governance.citations import Citations, Ledger, marked_html, marked_markdown
from governance.documents import DOCUMENTS, FRONT, GAPS, Document
from governance.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from governance.facts import Facts
    from governance.law import Framework

TEMPLATES = Path(__file__).parent / "templates"
SYSTEM = Path(__file__).parent / "system.yaml"
GAP_TABLE = "\ue000G\ue001"
"""Stands where a page shows its gaps, which are known only after all pages are rendered."""
FRAME = '<div class="wide" role="region" aria-label="Table" tabindex="0">'
"""Lets a wide table scroll by itself on a narrow screen, by keyboard too."""
DOCUMENT_TYPE = "plumbline.document/v1"


@dataclass
class Pack:
    """Everything that documents of one release share."""

    found: Facts
    ledger: Ledger
    frameworks: dict[str, Framework]
    mlflow_ui: str
    computed: dict[str, str] = field(default_factory=dict)
    """File → text of what was computed here."""


@dataclass(frozen=True)
class Page:
    """A document without its gaps."""

    document: Document
    body: str
    """HTML or Markdown, with tokens for marks."""
    citations: Citations

    @property
    def name(self) -> str:
        """Name of its files."""
        return str(self.document.name)


def render(  # noqa: PLR0913  (a pack has so many sources)
    evidence: Path,
    out: Path,
    *,
    mlflow_ui: str = "",
    release: Path | None = None,
    previous: Path | None = None,
    system: Path = SYSTEM,
    attachments: Mapping[str, Path] | None = None,
    pdf: bool = False,
) -> None:
    """Write a release's pack.

    Args:
        evidence: Folder of evidence records.
        out: Folder to write; made anew.
        mlflow_ui: Address of MLflow's pages, for links to runs; no links where empty.
        release: File with `pipeline_run`, `versions` and, once it is out, the deployment's record.
        previous: Evidence records of the release before.
        system: What the organisation declared.
        attachments: Path in the pack → file to copy there.
        pdf: Whether to write the main documents as PDF too.

    Raises:
        ArtifactRefused: The evidence can't be read.
    """
    made = _prepare(facts.load(evidence, system=system, release=release, previous=previous), mlflow_ui.rstrip("/"))
    missing = _no_pdf() if pdf else ""
    if missing:
        made.ledger.add("pack.pdf", missing)
    pages = [_page(document, made) for document in DOCUMENTS]
    written = {page.name: _html(page, made) for page in pages}
    statements.faithful(written, made.found)

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _copy(out, _sources(evidence, previous, system, release) | dict(attachments or {}))
    for name, text in made.computed.items():
        _write(out / name, text)
    for page in pages:
        _write(out / f"{page.name}.html", written[page.name])
        _write(out / f"{page.name}.json", _twin(page, made))
        if page.document.form == "md":
            _write(out / f"{page.name}.md", _markdown(page, made.found))
    _write(out / "search.html", _search(written, made))
    _write(out / "croissant.json", croissant.text(made.found))
    _write(
        out / "bom.cdx.json",
        bom.text(made.found, *(out / "attachments" / name for name in ("constraints.txt", "installed.json"))),
    )
    for name, statement in statements.predicates(made.found, made.ledger).items():
        _write(out / "attestations" / f"{name}.json", statement)
    _write(out / "summary.json", _summary(made))
    if pdf and not missing:
        from governance import print_pdf  # noqa: PLC0415  (1 s import)

        print_pdf.write_all({out / "pdf" / f"{page.name}.pdf": written[page.name] for page in pages if page.document.pdf})
    pack.seal(out)


def _no_pdf() -> str:
    """Why pages can't be printed here; empty where they can."""
    try:
        from governance import print_pdf  # noqa: F401, PLC0415  (1 s import)
    except OSError as error:
        what = str(error).splitlines()[0][:80]
        return f"the library Pango, which prints the pages, is not on the machine that made this pack ({what})"
    return ""


def _prepare(found: Facts, mlflow_ui: str) -> Pack:
    """Add what is computed of facts, so that documents can cite it like any other fact."""
    statements.agree(found)
    tree, gaps = compute.totals(found)
    found.gaps |= gaps
    texts = {"computed.json": found.add_computed("computed", "computed.json", {"compute": tree})}
    frameworks = law.assess(found)
    texts["controls.json"] = found.add_computed("controls", "controls.json", law.coverage(frameworks))
    ledger = Ledger()
    for name, reason in sorted(found.gaps.items()):
        if not name.startswith("previous."):
            ledger.add(name, reason)
    return Pack(found, ledger, {str(framework.key): framework for framework in frameworks}, mlflow_ui, texts)


@cache
def _environment(kind: str, *, frame: bool = False) -> Environment:
    escaped = escape.for_html if kind == "html" else escape.for_markdown
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=partial(escaped) if frame else partial(_final, escaped),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _final(escaped: Callable[[Any], Markup], value: Any) -> Any:
    """What a document's template may print: its own words, and what it cites.

    Raises:
        TypeError: The template prints a value from data without citing it.
    """
    if isinstance(value, Markup | Words):
        return escaped(value)
    message = f"a template prints {value!r} without a source; write cite(NAME) or show(NAME)."
    raise TypeError(message)


def _page(document: Document, made: Pack) -> Page:
    escaped = escape.for_html if document.form == "html" else escape.for_markdown
    citations = Citations(str(document.name), made.found, made.ledger, escaped)
    body = (
        _environment(document.form)
        .get_template(document.source)
        .render(
            cite=citations.cite,
            show=citations.show,
            unit=citations.unit,
            record=citations.record,
            run_link=partial(_run_link, citations, made.mlflow_ui),
            facts=made.found,
            views=views,
            people=people,
            lists=lists,
            law=law,
            document=document,
            documents=DOCUMENTS,
            frameworks=made.frameworks,
            framework=made.frameworks.get(document.framework),
            plot=partial(plots.bars, citations),
            reliability=partial(plots.reliability, citations),
            overoptimisation=partial(plots.overoptimisation, citations),
            course=partial(plots.course, citations),
            lineage_graph=partial(graph.svg, citations, made.mlflow_ui),
            gap_table=Markup(GAP_TABLE),  # noqa: S704  (a constant)
        )
    )
    return Page(document, body, citations)


def _run_link(citations: Citations, mlflow_ui: str, step: str) -> Markup:
    """A step's run id, linked to its page in MLflow where there is one."""
    shown = citations.show(f"{step}.run")
    if not mlflow_ui or f"{step}.run" not in citations.facts:
        return shown
    address = f"{mlflow_ui}/#/runs/{quote(str(citations.facts.value(f'{step}.run')), safe='')}"
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(address, shown)


def _from_markdown(text: str) -> Markup:
    """Markdown as HTML. Raw HTML in it stays text, and links to scripts are refused."""
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    framed = made.replace("<table>", f"{FRAME}<table>").replace("</table>", "</table></div>")
    framed = framed.replace("<h2>Gaps</h2>", '<h2 id="gaps">Gaps</h2>')
    return Markup(framed)  # noqa: S704  (markdown-it escapes)


def _html(page: Page, made: Pack) -> str:
    """The whole page: frame, body, gaps, sources."""
    body = page.body if page.document.form == "html" else _from_markdown(page.body)
    gaps = _gaps(page, "html")
    filled = str(body).replace(f"<p>{GAP_TABLE}</p>", gaps).replace(GAP_TABLE, gaps)
    marked = marked_html(filled, page.citations, gaps_at="" if page.document is GAPS else "gaps.html")
    return _frame(page.document.title, page.name, marked, made, marks=list(page.citations.marks.values()), files=_files(page))


def _frame(title: str, name: str, body: str, made: Pack, **more: Any) -> str:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    script = more.pop("script", "")
    policy = f"default-src 'none'; style-src 'sha256-{_hash(style)}'; base-uri 'none'; form-action 'none'"
    if script:
        policy += f"; script-src 'sha256-{_hash(script)}'"
    return (
        _environment("html", frame=True)
        .get_template("layout.html.jinja")
        .render(
            {"marks": [], "files": [], "data": "", "stated": name != "search"}
            | {
                "title": title,
                "name": name,
                "version": made.found.value("release.versions.policy", "not recorded"),
                "labels": views.labels(made.found),
                "documents": DOCUMENTS,
                "body": Markup(body),  # noqa: S704  (rendered with autoescape)
                "style": Markup(style),  # noqa: S704  (our own file)
                "script": Markup(script),  # noqa: S704  (our own file)
                "policy": policy,
            }
            | more
        )
    )


def _gaps(page: Page, kind: str) -> str:
    """The gaps of one document; the ledger shows all, the front page all of the pipeline's."""
    whole = page.document in (GAPS, FRONT)
    numbered = page.citations.ledger.numbered("" if whole else page.name)
    return (
        _environment(kind, frame=True)
        .get_template(f"gaps_table.{kind}.jinja")
        .render(gaps=numbered, questions=page.citations.facts.questions, page=page.name, total=len(numbered))
    )


def _files(page: Page) -> list[tuple[str, str]]:
    """The files that a page cites, with their sha256."""
    return sorted({(mark.source.file, mark.source.sha256) for mark in page.citations.marks.values()})


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _search(written: Mapping[str, str], made: Pack) -> str:
    entries = [entry for name, text in written.items() for entry in search.entries(name, text)]
    script = (TEMPLATES / "search.js").read_text(encoding="utf-8")
    body = (TEMPLATES / "search.html").read_text(encoding="utf-8")
    data = Markup(search.embedded(entries))  # noqa: S704  (escaped there)
    return _frame("Search", "search", body, made, script=script, data=data)


def _markdown(page: Page, found: Facts) -> str:
    """The model card as Hugging Face reads it: front matter, body, gaps, footnotes."""
    environment = _environment("md", frame=True)
    notes = environment.get_template("sources.md.jinja").render(marks=list(page.citations.marks.values()), files=_files(page))
    text = marked_markdown(page.body.replace(GAP_TABLE, _gaps(page, "md")), page.citations)
    front = f"---\n{_front_matter(found)}---\n\n" if page.name == "model_card" else ""
    return f"{front}{text.strip()}\n\n{notes.strip()}\n"


def _front_matter(found: Facts) -> str:
    """What Hugging Face reads: only what is known."""
    simulated = any(label.text == "Simulated data" for label in views.labels(found))
    card: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["rlhf", "plumbline", *(["simulated-data"] if simulated else [])],
        "model-index": [{"name": f"policy-v{found.value('release.versions.policy', 'draft')}", "results": _results(found)}],
    }
    card |= {key: found.value(f"system.{name}") for key, name in (("license", "licence"), ("language", "language"))}
    if found.value("base.facts.source.source") == "hub":
        card["base_model"] = found.value("base.facts.source.location")
    known = {key: value for key, value in card.items() if value}
    return yaml.safe_dump(known, sort_keys=True, allow_unicode=True, width=10_000)


def _results(found: Facts) -> list[dict[str, Any]]:
    metrics = [
        {
            "name": str(row.title),
            "type": row.cells[-1].split(".")[2].removesuffix("_candidate"),
            "value": found.value(row.cells[-1]),
        }
        for row in views.metrics(found)
        if row.cells[-1] in found
    ]
    dataset = {"name": "Prompts of the split evaluation", "type": "plumbline-evaluation"}
    task = {"type": "text-generation", "name": "Text generation"}
    return [{"task": task, "dataset": dataset, "metrics": metrics}] if metrics else []


def _twin(page: Page, made: Pack) -> str:
    """The document for machines: every value that it states, with where it is written, and its gaps."""
    names = dict.fromkeys(name for name in page.citations.shown if name in made.found)
    stated = {}
    for name in names:
        fact = made.found.facts[name]
        entry = {"value": fact.value, "unit": fact.unit, "n": fact.n, "low": fact.low, "high": fact.high}
        stated[name] = {key: value for key, value in entry.items() if value not in (None, "")} | {"source": asdict(fact.source)}
    numbered = made.ledger.numbered("" if page.document is GAPS else page.name)
    twin = {
        "type": DOCUMENT_TYPE,
        "document": page.name,
        "title": str(page.document.title),
        "labels": [str(label.text) for label in views.labels(made.found)],
        "statements": stated,
        "gaps": [{"name": gap.name, "reason": gap.reason, "owner": gap.owner} for _, gap in numbered],
    }
    return json.dumps(twin, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _summary(made: Pack) -> str:
    """What the terminal shows."""
    found = made.found
    gates = [{part: found.value(f"{gate}.{part}", "") for part in ("name", "verdict", "text")} for gate in views.gates(found)]
    summary = {
        "policy_version": found.value("release.versions.policy", ""),
        "verdict": found.value("evaluate.facts.verdict", "undecided"),
        "gates": gates,
        "gaps": [{"name": gap.name, "reason": gap.reason} for _, gap in made.ledger.numbered()],
        "labels": [str(label.text) for label in views.labels(found)],
        "coverage": found.value("controls.all.coverage.value"),
        "compute": {
            name: found.value(f"computed.compute.{name}.value")
            for name in ("cumulative_updating", "cumulative_all")
            if f"computed.compute.{name}.value" in found
        },
        "index": "index.html",
    }
    return json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _sources(evidence: Path, previous: Path | None, system: Path, release: Path | None) -> dict[str, Path]:
    """The files that documents cite."""
    named = {f"evidence/{path.name}": path for path in sorted(evidence.glob("*.json"))}
    named |= {f"previous/{path.name}": path for path in sorted(previous.glob("*.json"))} if previous else {}
    return named | {"declared/system.yaml": system} | ({"release.json": release} if release else {})


def _copy(out: Path, named: Mapping[str, Path]) -> None:
    for name, path in named.items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
