"""What a pack states for machines: in-toto statements of our own types, and the check that no page says two things.

Types, described in docs/predicates.md: preference-snapshot, reward-model, ppo-run, human-approval, gap-ledger. Each is a
statement about artifacts by their digest, and holds only what the records of finished steps hold.
"""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactRefused
from governance import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from governance.citations import Ledger
    from governance.facts import Fact, Facts

STATEMENT = "https://in-toto.io/Statement/v1"
FOLDER_DIGEST = "plumblineFolderSha256"
"""Name of the digest of a folder: sha256 of the sorted lines of `sha256sum`."""
SAME: tuple[tuple[str, str], ...] = (
    ("release.pipeline_run", "start.pipeline_run"),
    ("evaluate.facts.reward_model_digest", "evaluate.inputs.reward_adapter.digest"),
    ("approve.facts.approval.verdict", "evaluate.facts.verdict"),
    ("ppo.inputs.reward_adapter.digest", "reward.outputs.reward_adapter.digest"),
    ("ppo.inputs.base_model.digest", "base.outputs.base_model.digest"),
    ("evaluate.inputs.policy_adapter.digest", "ppo.outputs.policy_adapter.digest"),
    ("reward.inputs.comparisons.digest", "validate.outputs.comparisons.digest"),
)
"""Facts that say the same thing in two places."""
VALUE = re.compile(r'<span data-fact="([^"]*)"[^>]*>(.*?)</span>', re.DOTALL)
STEPS = {"preference-snapshot": "validate", "reward-model": "reward", "ppo-run": "ppo"}
SUBJECTS = {
    "preference-snapshot": ("comparisons", "annotators", "golden"),
    "reward-model": ("reward_adapter",),
    "ppo-run": ("policy_adapter",),
}


def agree(facts: Facts) -> None:
    """See that records which say the same thing in two places say the same.

    Raises:
        ArtifactRefused: Two don't.
    """
    for one, other in SAME:
        if one in facts and other in facts and facts.value(one) != facts.value(other):
            message = (
                f"{one} is {facts.value(one)!r}, {other} is {facts.value(other)!r}; they must be the same. "
                "The records belong to different releases: export the evidence of one pipeline run again."
            )
            raise ArtifactRefused(message)


def faithful(pages: Mapping[str, str], facts: Facts) -> None:
    """See that every value on every page is its fact's value, so that no two pages differ.

    Raises:
        ArtifactRefused: A page prints something else.
    """
    known = {escape.visible(name): fact for name, fact in facts.facts.items()}
    for name, page in pages.items():
        for fact_name, text in VALUE.findall(page):
            fact = known.get(html.unescape(fact_name))
            if fact is None or html.unescape(text) not in _ways(fact):
                message = (
                    f"{name}.html prints {html.unescape(text)!r} for {html.unescape(fact_name)}, "
                    f"its record has {fact.value if fact else 'nothing'!r}. This is an error in a template; please report it."
                )
                raise ArtifactRefused(message)


def _ways(fact: Fact) -> set[str]:
    """The ways in which a value may be printed."""
    numbers = {escape.to_places(fact.value), repr(fact.value)} if isinstance(fact.value, int | float) else set()
    return {escape.visible(escape.plain(fact.value)), *numbers}


def predicates(facts: Facts, ledger: Ledger) -> dict[str, str]:
    """Name → statement, for what this release has records of."""
    made = {name: _of_step(name, step, facts) for name, step in STEPS.items() if step in facts.records}
    if "approve" in facts.records:
        approval = facts.records["approve"].facts.get("approval", {})
        shown = {name: str(digest) for name, digest in dict(approval.get("shown", {})).items()}
        made["human-approval"] = _statement("human-approval", shown, {"approval": approval})
    if "ppo" in facts.records:
        gaps = [{"name": gap.name, "reason": gap.reason, "owner": gap.owner} for _, gap in ledger.numbered()]
        policy = {name: item.digest for name, item in facts.records["ppo"].outputs.items()}
        made["gap-ledger"] = _statement("gap-ledger", policy, {"gaps": gaps})
    return made


def _of_step(name: str, step: str, facts: Facts) -> str:
    record = facts.records[step]
    subjects = {part: record.outputs[part].digest for part in SUBJECTS[name] if part in record.outputs}
    predicate = {
        "pipelineRun": record.pipeline_run,
        "run": record.run,
        "materials": {part: item.digest for part, item in sorted(record.inputs.items())},
        "code": dict(record.code),
        "seed": record.seed,
        "settings": dict(record.settings),
        "measurements": dict(record.measurements),
        "facts": dict(record.facts),
        "notRecorded": dict(record.gaps),
        "finishedAt": record.times.get("finished_at"),
    }
    return _statement(name, subjects, predicate)


def _statement(name: str, subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> str:
    statement = {
        "_type": STATEMENT,
        "subject": [
            {"name": part, "digest": {FOLDER_DIGEST: digest.removeprefix("sha256:")}}
            for part, digest in sorted(subjects.items())
        ],
        "predicateType": f"urn:plumbline:predicate:{name}:v1",
        "predicate": predicate,
    }
    return json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
