"""The report as one page that a person reads in two minutes: verdict, forest plot, models, suites, worst prompts.

No script, no request, nothing from outside: everything that a model or a user said is escaped, and characters that are
invisible or change direction are shown by their code points.
"""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluate.report import TITLES, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STYLE = Path(__file__).parent / "page.css"
ORDER = ("base", "sft", "champion", "candidate")
WORDS = {"pass": "pass", "regressed": "regressed", "undecided": "undecided"}
SIGNS = {"pass": "✓", "regressed": "✗", "undecided": "?"}
MEANING = {
    "pass": "Every gate that counts passed: a loss as large as its margin is ruled out on each.",
    "regressed": "On at least one metric the candidate is worse, and a loss as large as the margin is not ruled out.",
    "undecided": "No metric is shown to be worse, but at least one could not be decided. Undecided counts as not passed.",
}
ROW, LEFT, WIDTH, REACH = 24, 300, 420, 3.0
"""Of the forest plot: height of a row, width of labels and plot, margins shown to each side. [px, px, px, margins]"""


def render(report: Mapping[str, Any]) -> str:
    """The page of a report."""
    verdict = report["verdict"]
    sections = [
        (
            f'<section class="verdict {verdict}"><h2>Verdict: <span class="word">{SIGNS[verdict]} {WORDS[verdict]}</span></h2>'
            f"<p>{MEANING[verdict]} The candidate is compared with the {_say(report['reference'])}; answers are scored by the "
            f"{_say(report['scored_by'])}.</p>{_counts(report)}</section>"
        ),
        _forest(report["gates"]),
        _undecided(report["gates"]),
        _trend(report),
        _suites(report),
        _tables(report),
        _worst(report["gates"]),
        _made_with(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Evaluation report</title>'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body><main><h1>Evaluation report</h1>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _counts(report: Mapping[str, Any]) -> str:
    counted = [gate for gate in report["gates"] if not gate["advisory"]]
    parts = [f"{sum(gate['verdict'] == verdict for gate in counted)} {WORDS[verdict]}" for verdict in SIGNS]
    advisory = len(report["gates"]) - len(counted)
    return f'<p class="counts">Gates: {", ".join(parts)}{f"; {advisory} advisory" if advisory else ""}.</p>'


def _forest(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = [gate for gate in gates if gate["bound"] == "margin"]
    height = ROW * len(rows) + 56
    body = "".join(_row(gate, 40 + ROW * place) for place, gate in enumerate(rows))
    axis = "".join(_axis(at, height) for at in (-2, -1, 0, 1, 2))
    words = f"{_x(-1):.1f}", f"{_x(0):.1f}"
    return (
        "<section><h2>What got better, what got worse</h2>"
        "<p>Candidate against its reference, each with its 95 % interval, in units of the metric&rsquo;s margin: "
        "right is better, 0 is no "
        "change, &minus;1 is the margin. A gate passes when its whole interval lies right of &minus;1.</p>"
        f'<div class="wide"><svg viewBox="0 0 {LEFT + WIDTH + 90} {height}" role="img" '
        f'aria-label="Forest plot; the table of each suite has the same numbers"><rect class="lost" x="{LEFT}" y="26" '
        f'width="{_x(-1) - LEFT:.1f}" height="{height - 44}"/>{axis}<text class="tick" x="{words[0]}" y="18">margin</text>'
        f'<text class="tick" x="{words[1]}" y="18">no change</text>{body}</svg></div></section>'
    )


def _x(value: float) -> float:
    return LEFT + WIDTH * (min(REACH, max(-REACH, value)) + REACH) / (2 * REACH)


def _axis(at: int, height: int) -> str:
    kind = {-1: "margin", 0: "zero"}.get(at, "grid")
    label = f"&minus;{-at}" if at < 0 else str(at)
    return (
        f'<line class="{kind}" x1="{_x(at):.1f}" x2="{_x(at):.1f}" y1="26" y2="{height - 18}"/>'
        f'<text class="tick" x="{_x(at):.1f}" y="{height - 4}">{label}</text>'
    )


def _row(gate: Mapping[str, Any], y: int) -> str:
    name = f"{SIGNS[gate['verdict']]} {gate['name']}{' (advisory)' if gate['advisory'] else ''}"
    label = f'<text class="label {gate["verdict"]}" x="{LEFT - 12}" y="{y + 4}">{_say(name)}</text>'
    numbers = spread(gate)
    if numbers is None:
        return f'{label}<text class="none" x="{LEFT + 8}" y="{y + 4}">not measured</text>'
    low, value, high = numbers
    note = (
        f'<text class="value" x="{LEFT + WIDTH + 10}" y="{y + 4}">{gate["value"]:+.3f}</text>'
        if gate["unit"] != "ratio"
        else (f'<text class="value" x="{LEFT + WIDTH + 10}" y="{y + 4}">&times;{gate["value"]:.2f}</text>')
    )
    beyond = "".join(
        f'<text class="beyond {gate["verdict"]}" x="{_x(end):.1f}" y="{y + 4}">{arrow}</text>'
        for end, arrow, out in ((low, "◂", low < -REACH), (high, "▸", high > REACH))
        if out
    )
    return (
        f'{label}<line class="bar {gate["verdict"]}" x1="{_x(low):.1f}" x2="{_x(high):.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="dot {gate["verdict"]}" cx="{_x(value):.1f}" cy="{y}" r="4.5"/>{beyond}{note}'
    )


def _undecided(gates: Sequence[Mapping[str, Any]]) -> str:
    """Every gate that did not pass, in words."""
    rows = [gate for gate in gates if gate["verdict"] != "pass"]
    if not rows:
        return "<section><h2>Gates that did not pass</h2><p>None.</p></section>"
    items = "".join(
        f'<li><b class="{gate["verdict"]}">{SIGNS[gate["verdict"]]} {_say(gate["name"])}</b>'
        f"{' (advisory: does not count)' if gate['advisory'] else ''} — {_say(gate['text'])}</li>"
        for gate in rows
    )
    return f"<section><h2>Gates that did not pass</h2><ul>{items}</ul></section>"


def _trend(report: Mapping[str, Any]) -> str:
    """Every gated metric from the base model to the candidate."""
    models = [name for name in ORDER if name in report["models"]]
    rows = []
    for suite in report["suites"]:
        for metric in suite["metrics"]:
            values = [report["models"][name].get(metric["name"]) for name in models]
            if any(values):
                cells = [_say(_number(each["value"])) if each else "—" for each in values]
                known = [each["value"] for each in values if each]
                rows.append([_say(metric["label"]), *cells, _spark(known), metric["better"]])
    head = ["Metric", *(_capital(TITLES[name]) for name in models), "Trend", "Better"]
    return (
        "<section><h2>From the base model to the candidate</h2><p>The same questions, noise and decoding for "
        "every model. The trend is "
        "drawn from the lowest to the highest value of each row; earlier releases are compared in MLflow.</p>"
        f"{_table(head, rows)}</section>"
    )


def _spark(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    spots = [
        (4 + 72 * place / (len(values) - 1), 18 - 14 * ((value - low) / (high - low) if high > low else 0.5))
        for place, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    return (
        f'<svg class="spark" viewBox="0 0 80 22" aria-hidden="true"><polyline points="{line}"/>'
        f'<circle cx="{spots[-1][0]:.1f}" cy="{spots[-1][1]:.1f}" r="2.6"/></svg>'
    )


def _suites(report: Mapping[str, Any]) -> str:
    parts = [_suite(suite, report) for suite in report["suites"]]
    left_out = report.get("left_out_suites") or []
    note = f"<p>Left out by the settings: {_say(', '.join(left_out))}.</p>" if left_out else ""
    return f"<section><h2>Suites</h2><p>What each covers, and what not.</p>{note}{''.join(parts)}</section>"


def _suite(suite: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    gates = [gate for gate in report["gates"] if gate["suite"] == suite["name"]]
    signs = " ".join(f'<b class="{gate["verdict"]}">{SIGNS[gate["verdict"]]}</b>' for gate in gates)
    reason = suite["undecided_because"]
    broken = f'<p class="regressed">This suite did not finish, so its gates are undecided: {_say(reason)}</p>' if reason else ""
    rows = [
        [
            _say(gate["name"]),
            f'<b class="{gate["verdict"]}">{SIGNS[gate["verdict"]]} {WORDS[gate["verdict"]]}</b>',
            _interval(gate),
            _say(_number(gate["threshold"])),
            _say(f"{gate['p_adjusted']:.4f}") if gate["p_adjusted"] is not None else "—",
            _say(_number(gate["visible"])) if gate["visible"] is not None else "—",
            _say(gate["more"]) if gate["more"] else "—",
        ]
        for gate in gates
    ]
    head = [
        "Metric",
        "Gate",
        "Difference, 95 % interval",
        "Limit",
        "p, Holm",
        "Smallest regression seen",
        "More prompts needed",
    ]
    table = _table(head, rows) if rows else "<p>No gate: reported only.</p>"
    return (
        f"<details><summary>{_say(suite['title'])} {signs} <span class='soft'>{suite['items']} items</span></summary>{broken}"
        f"<p>{_say(suite['covers'])}</p><p><b>Not covered:</b> {_say(suite['misses'])}</p>{table}</details>"
    )


def _interval(gate: Mapping[str, Any]) -> str:
    if gate["value"] is None:
        return "not measured"
    return _say(f"{gate['value']:.3f} ({gate['low']:.3f} to {gate['high']:.3f}), n = {gate['n']}")


def _tables(report: Mapping[str, Any]) -> str:
    """By kind, by attack, by group, by change."""
    parts = []
    if report["by_kind"]:
        rows = [
            [
                _say(kind),
                _say(row["n"]),
                _say(f"{row['difference']['value']:+.3f}"),
                _say(f"{row['difference']['low']:+.3f} to {row['difference']['high']:+.3f}"),
            ]
            for kind, row in report["by_kind"].items()
        ]
        table = _table(["Kind", "Prompts", "Difference", "95 % interval"], rows)
        parts.append(f"<details><summary>Quality by kind of prompt</summary>{table}</details>")
    for title, name in (
        ("Attacks that succeed", "by_attack"),
        ("Quality by group", "by_group"),
        ("Right under each change", "by_change"),
    ):
        if report[name]:
            parts.append(f"<details><summary>{title}</summary>{_by_model(report[name])}</details>")
    equal = report.get("at_equal_length")
    if equal:
        value, low, high = (f"{equal[name]:+.3f}" for name in ("value", "low", "high"))
        parts.append(f"<p>Difference in quality at equal length: {value} (95 % interval {low} to {high}).</p>")
    return f"<section><h2>In detail</h2>{''.join(parts)}</section>" if parts else ""


def _by_model(table: Mapping[str, Mapping[str, Any]]) -> str:
    models = [name for name in ORDER if name in table]
    rows = []
    for row in table[models[-1]]:
        cells = [table[name].get(row) for name in models]
        rows.append([_say(row), *(_say(_cell(each)) for each in cells)])
    return _table(["", *(_capital(TITLES[name]) for name in models)], rows)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        number = value.get("rate", value.get("value"))
        return f"{number:.3f} (n = {value['n']})"
    return "—" if value is None else f"{value:.3f}"


def _worst(gates: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"<details><summary>{_say(gate['name'])}: {len(gate['worst'])} worst prompts</summary>"
        f"{''.join(_case(case) for case in gate['worst'])}</details>"
        for gate in gates
        if gate["worst"]
    ]
    if not parts:
        return ""
    return (
        "<section><h2>Worst prompts</h2><p>For each gate that did not pass, the prompts on which the candidate "
        "lost most. What models "
        f"said is shown as they said it, and may offend.</p>{''.join(parts)}</section>"
    )


def _case(case: Mapping[str, Any]) -> str:
    turns = "".join(
        f"<p class='turn'><b>{_say(message['role'])}</b> {_say(message['content'])}</p>" for message in case["messages"]
    )
    sides = "".join(
        f"<td>{_say(case[side]['answer']) or '<i>empty</i>'}<br><span "
        f"class='soft'>{_say(_number(case[side]['value']))}</span></td>"
        for side in ("candidate", "reference")
    )
    return (
        f"<div class='case'><p "
        f"class='soft'>{_say(case['id'])}</p>{turns}<table><thead><tr><th>Candidate</th><th>Reference</th></tr>"
        f"</thead><tbody><tr>{sides}</tr></tbody></table></div>"
    )


def _made_with(report: Mapping[str, Any]) -> str:
    champion = report.get("champion")
    rows: list[list[Any]] = [
        ["Seed", report.get("seed")],
        ["Champion", f"policy version {champion['version']}, {champion['digest']}" if champion else "none"],
        ["Decoding", ", ".join(f"{name} {value:g}" for name, value in report.get("decoding", {}).items())],
        ["Compute", f"{sum(report.get('flop', {}).values()):.2e} floating-point operations, in proportion to the prompts"],
        *([f"Digest of {name}", digest] for name, digest in report.get("digests", {}).items()),
    ]
    table = _table(["", ""], [[_say(name), f"<code>{_say(value)}</code>"] for name, value in rows])
    return f"<section><h2>Made with</h2>{table}<p>The same as JSON: report.json.</p></section>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose cells are already HTML."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _say(value: Any) -> str:
    """Escaped, with what can't be seen made visible."""
    return html.escape("".join(_seen(character) for character in str(value)))


def _seen(character: str) -> str:
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs", "Cn"} and character not in "\n\t"
    return f"⟨U+{ord(character):04X}⟩" if hidden else character
