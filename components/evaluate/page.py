"""The report as one page that a person reads in two minutes: verdict, forest plot, models, suites, worst prompts.

No script, no request, nothing from outside: everything that a model or a user said is escaped, and characters that are
invisible or change direction are shown by their code points.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluate import drawings
from components.evaluate.drawings import SIGNS, number, say, spark
from components.evaluate.report import CANDIDATE, TITLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STYLE = Path(__file__).parent / "page.css"
ORDER = ("base", "sft", "champion", "candidate")
WORDS = {"pass": "pass", "regressed": "regressed", "undecided": "undecided"}
MADE = {
    "base_model": "base model",
    "sft_adapter": "SFT policy",
    "policy_adapter": "candidate",
    "reward_adapter": "reward model",
}
"""Artifact → what it is, for a reader."""
MEANING = {
    "pass": "Every gate that counts passed: a loss as large as its margin is ruled out on each.",
    "regressed": "On at least one metric the candidate is worse, and a loss as large as the margin is not ruled out.",
    "undecided": "No metric is shown to be worse, but at least one could not be decided. Undecided counts as not passed.",
}


def render(report: Mapping[str, Any]) -> str:
    """The page of a report."""
    verdict = report["verdict"]
    sections = [
        (
            f'<section class="verdict {verdict}"><h2>Verdict: <span class="word">{SIGNS[verdict]} {WORDS[verdict]}</span></h2>'
            f"<p>{MEANING[verdict]} The candidate is compared with the {say(report['reference'])}; answers are scored by the "
            f"{say(report['scored_by'])}.</p>{_of_another_base(report)}{_counts(report)}</section>"
        ),
        _forest(report),
        _undecided(report["gates"]),
        _over_releases(report),
        _from_base(report),
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
        f"{_of_what(report)}{''.join(sections)}</main></body></html>\n"
    )


def _of_what(report: Mapping[str, Any]) -> str:
    """Which candidate this is about, against whom, and from when: what a reader files it by."""
    policy = report["versions"].get("policy_adapter")
    if not policy:
        return '<p class="soft">The versions and times of the models were not recorded.</p>'
    champion = report.get("champion")
    against = f"champion, version {say(champion['version'])}" if champion else "SFT policy; there is no champion"
    return (
        f"<p>Candidate: {say(policy['model'])} version {say(policy['version'])} of <time>{_day(policy['finished_at'])}</time>. "
        f"Compared with: {against}.</p>"
    )


def _day(moment: str) -> str:
    """A time of an evidence record, to the minute."""
    return f"{say(moment[:16].replace('T', ' '))} UTC"


def _of_another_base(report: Mapping[str, Any]) -> str:
    """What differs where the champion belongs to another base model than the candidate."""
    if report["absent"]:
        reasons = "; ".join(report["absent"].values())
        return (
            f"<p>{say(_capital(reasons))}. No gate against it can pass; tables and worst prompts show the SFT policy in its "
            "place.</p>"
        )
    if not (report.get("champion") or {}).get("base_digest"):
        return ""
    return (
        "<p>The champion belongs to another base model. It answered the same prompts in its own chat template and tokens, with "
        "noise of its own, so differences scatter more than between policies of one base. Every model&rsquo;s perplexity is of "
        "the same characters, per token of the candidate&rsquo;s tokenizer.</p>"
    )


def _counts(report: Mapping[str, Any]) -> str:
    counted = [gate for gate in report["gates"] if not gate["advisory"]]
    parts = [f"{sum(gate['verdict'] == verdict for gate in counted)} {WORDS[verdict]}" for verdict in SIGNS]
    advisory = len(report["gates"]) - len(counted)
    loosened = sum(gate["loosened"] for gate in counted)
    parts[-1] += f"; {advisory} advisory" if advisory else ""
    parts[-1] += f"; {loosened} with a limit that the settings loosen" if loosened else ""
    return f'<p class="counts">Gates: {", ".join(parts)}.</p>'


def _forest(report: Mapping[str, Any]) -> str:
    labels = {metric["name"]: metric["label"] for suite in report["suites"] for metric in suite["metrics"]}
    drawn = drawings.forest([gate for gate in report["gates"] if gate["bound"] == "margin"], labels)
    return (
        "<section><h2>What got better, what got worse</h2>"
        "<p>Candidate against its reference, each with its 95 % interval, in units of the metric&rsquo;s margin: right is "
        "better, 0 is no change, &minus;1 is the margin. A gate passes when its whole interval lies right of &minus;1.</p>"
        f'<div class="wide">{drawn}</div></section>'
    )


def _undecided(gates: Sequence[Mapping[str, Any]]) -> str:
    """Every gate that did not pass, or passed by a loosened limit, in words."""
    listed = _listed([gate for gate in gates if gate["verdict"] != "pass"])
    loosened = _listed([gate for gate in gates if gate["verdict"] == "pass" and gate["loosened"]])
    return f"<section><h2>Gates that did not pass</h2>{listed or '<p>None.</p>'}</section>" + (
        f"<section><h2>Gates that pass by a limit that the settings loosen</h2>{loosened}</section>" if loosened else ""
    )


def _listed(gates: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(
        f'<li><b class="{gate["verdict"]}">{SIGNS[gate["verdict"]]} {say(gate["name"])}</b>'
        f"{' (advisory: does not count)' if gate['advisory'] else ''} — {say(gate['text'])}</li>"
        for gate in gates
    )
    return f"<ul>{items}</ul>" if items else ""


def _over_releases(report: Mapping[str, Any]) -> str:
    """Every gated metric over the last releases that were asked the same, and which were not."""
    trend = report["trend"]
    labels = {metric["name"]: metric for suite in report["suites"] for metric in suite["metrics"]}
    releases = list(dict.fromkeys(point["release"] for points in trend["metrics"].values() for point in points[:-1]))
    rows = []
    for name, points in trend["metrics"].items():
        cells = {point["release"]: say(number(point["value"])) for point in points}
        drawn = spark(points, labels[name]["label"])
        rows.append(
            [
                say(labels[name]["label"]),
                *(cells.get(each, "—") for each in [*releases, CANDIDATE]),
                drawn,
                labels[name]["better"],
            ]
        )
    head = ["Metric", *(f"Release {say(each)}" for each in releases), "Candidate", "Trend", "Better"]
    apart = "".join(f"<li>Release {say(each['release'])}: {say(each['reason'])}.</li>" for each in trend["not_comparable"])
    return (
        "<section><h2>Over the last releases</h2>"
        + ("" if trend["releases"] else "<p>There is no earlier release.</p>")
        + (
            "<p>Each release as it was measured before it went out, where its suite asked the same questions with the same "
            "code, seed and decoding; lines are 95 % intervals. Differences between releases are not tested: gates compare on "
            f"the same prompts, side by side.</p>{_table(head, rows)}"
            if rows
            else ""
        )
        + (f"<p>Not comparable, so not drawn:</p><ul>{apart}</ul>" if apart else "")
        + "</section>"
    )


def _from_base(report: Mapping[str, Any]) -> str:
    """Every metric from the base model to the candidate."""
    models = [name for name in ORDER if name in report["models"]]
    rows = []
    for suite in report["suites"]:
        for metric in suite["metrics"]:
            values = [report["models"][name].get(metric["name"]) for name in models]
            if any(values):
                cells = [say(number(each["value"])) if each else "—" for each in values]
                rows.append([say(metric["label"]), *cells, metric["better"]])
    head = ["Metric", *(_capital(TITLES[name]) for name in models), "Better"]
    return (
        "<section><h2>From the base model to the candidate</h2><p>The same questions, noise and decoding for every model.</p>"
        f"{_table(head, rows)}</section>"
    )


def _suites(report: Mapping[str, Any]) -> str:
    parts = [_suite(suite, report) for suite in report["suites"]]
    left_out = report.get("left_out_suites") or []
    note = f"<p>Left out by the settings: {say(', '.join(left_out))}.</p>" if left_out else ""
    return f"<section><h2>Suites</h2><p>What each covers, and what not.</p>{note}{''.join(parts)}</section>"


def _suite(suite: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    gates = [gate for gate in report["gates"] if gate["suite"] == suite["name"]]
    signs = " ".join(f'<b class="{gate["verdict"]}">{SIGNS[gate["verdict"]]}</b>' for gate in gates)
    reason = suite["undecided_because"]
    broken = f'<p class="regressed">This suite did not finish, so its gates are undecided: {say(reason)}</p>' if reason else ""
    rows = [
        [
            say(gate["name"]),
            f'<b class="{gate["verdict"]}">{SIGNS[gate["verdict"]]} {WORDS[gate["verdict"]]}</b>',
            _interval(gate),
            say(number(gate["threshold"])),
            say("< 0.0001" if p < 0.0001 else f"{p:.4f}") if (p := gate["p_adjusted"]) is not None else "—",
            say(number(gate["visible"])) if gate["visible"] is not None else "—",
            say(gate["more"]) if gate["more"] else "—",
        ]
        for gate in gates
    ]
    head = [
        "Metric",
        "Gate",
        "Difference, 95 % interval",
        "Limit",
        "p, Holm",
        "Smallest regression it could see",
        "More prompts needed",
    ]
    table = _table(head, rows) if rows else "<p>No gate: reported only.</p>"
    return (
        f"<details><summary>{say(suite['title'])} {signs} <span class='soft'>{suite['items']} items</span></summary>{broken}"
        f"<p>{say(suite['covers'])}</p><p><b>Not covered:</b> {say(suite['misses'])}</p>{table}</details>"
    )


def _interval(gate: Mapping[str, Any]) -> str:
    if gate["value"] is None:
        return "not measured"
    return say(f"{gate['value']:.3f} ({gate['low']:.3f} to {gate['high']:.3f}), n = {gate['n']}")


def _tables(report: Mapping[str, Any]) -> str:
    """Against each model, by kind, by attack, by group, by change."""
    parts = [_differences(report)]
    if report["by_kind"]:
        rows = [
            [
                say(kind),
                say(row["n"]),
                say(f"{row['difference']['value']:+.3f}"),
                say(f"{row['difference']['low']:+.3f} to {row['difference']['high']:+.3f}"),
            ]
            for kind, row in report["by_kind"].items()
        ]
        table = _table(["Kind", "Prompts", "Difference", "95 % interval"], rows)
        parts.append(f"<details><summary>Quality by kind of prompt</summary>{table}</details>")
    for title, name in (
        ("Attacks that succeed", "by_attack"),
        ("Right under each change", "by_change"),
    ):
        if report[name]:
            parts.append(f"<details><summary>{title}</summary>{_by_model(report[name])}</details>")
    parts.append(_groups(report))
    equal = report.get("at_equal_length")
    if equal:
        parts.append(
            f"<p>At equal length: difference in quality {_signed(equal)}; win rate less one half "
            f"{_signed(equal['win_rate_margin'])}.</p>"
        )
    return f"<section><h2>In detail</h2>{''.join(parts)}</section>" if any(parts) else ""


def _groups(report: Mapping[str, Any]) -> str:
    """Groups of people, as those who ask and as those whose labels taught the reward model."""
    found = ""
    if report["by_group"]:
        words = {model: {group: row["words"] for group, row in rows.items()} for model, rows in report["by_group"].items()}
        widest = "; ".join(f"in {name} {say(pair)}" for name, pair in report["widest_gap"][CANDIDATE].items())
        found += (
            f"<p>Widest under the candidate: {widest}. Intervals are of each group by itself.</p>"
            f"{_by_model(report['by_group'])}<p>Words per answer:</p>{_by_model(words)}"
        )
    if report["reward_by_group"]:
        rows = [
            [say(group), say(f"{row['accuracy']:.2f} ({row['low']:.2f} to {row['high']:.2f})")]
            for group, row in report["reward_by_group"].items()
        ]
        found += (
            "<p>How often the reward model agrees with held-out labels of each group of annotators large enough to be shown, "
            f"measured when it was trained:</p>{_table(['Group', 'Agreement, 95 % interval'], rows)}"
        )
    return f"<details><summary>Groups of people</summary>{found}</details>" if found else ""


def _differences(report: Mapping[str, Any]) -> str:
    """Candidate against every other model, the base included; only the reference decides."""
    others = [name for name in reversed(ORDER) if name in report["differences"]]
    ratios = {gate["name"] for gate in report["gates"] if gate["unit"] == "ratio"}
    rows = []
    for metric in (metric for suite in report["suites"] for metric in suite["metrics"]):
        found = [report["differences"][name].get(metric["name"]) for name in others]
        if any(found):
            form = _times if metric["name"] in ratios else _signed
            rows.append([say(metric["label"]), *(form(each) if each else "—" for each in found), metric["better"]])
    head = ["Metric", *(f"Against the {say(TITLES[name])}" for name in others), "Better"]
    return f"<details><summary>Candidate against each other model</summary>{_table(head, rows)}</details>" if rows else ""


def _signed(interval: Mapping[str, Any]) -> str:
    value, low, high = (f"{interval[name]:+.3f}" for name in ("value", "low", "high"))
    return say(f"{value} (95 % interval {low} to {high})")


def _times(interval: Mapping[str, Any]) -> str:
    value, low, high = (f"{interval[name]:.2f}" for name in ("value", "low", "high"))
    return f"&times;{value} (95 % interval {low} to {high})"


def _by_model(table: Mapping[str, Mapping[str, Any]]) -> str:
    models = [name for name in ORDER if name in table]
    rows = []
    for row in table[models[-1]]:
        cells = [table[name].get(row) for name in models]
        rows.append([say(row), *(say(_cell(each)) for each in cells)])
    return _table(["", *(_capital(TITLES[name]) for name in models)], rows)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        number = value.get("rate", value.get("value"))
        interval = f"{value['low']:.3f} to {value['high']:.3f}, " if "low" in value else ""
        return f"{number:.3f} ({interval}n = {value['n']})"
    return "—" if value is None else f"{value:.3f}"


def _worst(gates: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"<details><summary>{say(gate['name'])}: {len(gate['worst'])} worst prompts</summary>"
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
        f"<p class='turn'><b>{say(message['role'])}</b> {say(message['content'])}</p>" for message in case["messages"]
    )
    sides = "".join(
        f"<td>{say(case[side]['answer']) or '<i>empty</i>'}<br><span "
        f"class='soft'>{say(number(case[side]['value']))}</span></td>"
        for side in ("candidate", "reference")
    )
    return (
        f"<div class='case'><p "
        f"class='soft'>{say(case['id'])}</p>{turns}<table><thead><tr><th>Candidate</th><th>Reference</th></tr>"
        f"</thead><tbody><tr>{sides}</tr></tbody></table></div>"
    )


def _made_with(report: Mapping[str, Any]) -> str:
    champion = report.get("champion")
    rows: list[list[Any]] = [
        ["Date", _dated(report)],
        *([_capital(MADE[name]), _version(row)] for name, row in report["versions"].items() if name in MADE),
        ["Champion", f"policy version {champion['version']}, {champion['digest']}" if champion else "none"],
        ["Seed", report.get("seed")],
        ["Decoding", ", ".join(f"{name} {value:g}" for name, value in report.get("decoding", {}).items())],
        ["Compute", f"{sum(report.get('flop', {}).values()):.2e} floating-point operations, in proportion to the prompts"],
        *([f"Digest of {name}", digest] for name, digest in report.get("digests", {}).items()),
    ]
    table = _table(["", ""], [[say(name), f"<code>{say(value)}</code>"] for name, value in rows])
    return f"<section><h2>Made with</h2>{table}<p>The same as JSON: report.json.</p></section>"


def _dated(report: Mapping[str, Any]) -> str:
    if not report["date"]:
        return "not recorded"
    return (
        f"{_day(report['date'])}, when the newest of the models was done, by its evidence record. The time of the measurement "
        "is in the record of evaluate, so that this file has the same bytes whenever it is made from the same models"
    )


def _version(row: Mapping[str, Any]) -> str:
    return f"{row['model']} version {row['version']}, done {_day(row['finished_at'])}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose cells are already HTML."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
