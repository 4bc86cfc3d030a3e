"""Whether the models that a step reads may still be used: the states that the registry keeps of their versions.

`active` until the base model changes (`stale`, see `Lineage.mark_by_base`) or the data they were trained on are withdrawn
(`revoked`, see `components/annotators/rights.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.context import ModelVersion
from components.errors import ModelRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.catalog import Step
    from components.config import Config
    from components.context import Published
    from components.lineage import Lineage

TAG = "plumbline.state"
WHY = {
    "stale": "the base model has changed since it was trained",
    "revoked": "data that it was trained on were withdrawn",
}


def require_active(lineage: Lineage, step: Step, inputs: Mapping[str, Published], config: Config) -> dict[str, str]:
    """See that the versions that a step needs active are; returns artifact → state, with who answers for one that is not.

    Does not cover: versions that were changed in the registry by hand, and a revocation while the step is at work.

    Raises:
        ModelRefused: One is stale or revoked, and nobody answers for using it.
    """
    found = {}
    for name in step.needs_active:
        state = _state(lineage, inputs[name])
        override = config.sections["alignment"].model_dump().get("accept_reward_state", "")
        if state != "active" and not override:
            model, version = inputs[name].registered_model, lineage.version(inputs[name])
            message = (
                f"{name} is {model} version {version}, whose state is {state!r}: {WHY.get(state, 'see its tags in MLflow')}. "
                f"`{step.name}` needs an active one: run `{inputs[name].step}` again on this base model and the data as they "
                "are now, or set alignment.accept_reward_state to your name and reason."
            )
            raise ModelRefused(message)
        found[name] = state if state == "active" else f"{state}, accepted by {override}"
    return found


def newest_active(lineage: Lineage, model: str, *, but: str) -> ModelVersion | None:
    """The newest active version of a model that another step key than `but` made, fetched; None where there is none.

    What it is used for is a comparison in the report, so it is no part of the step key: a finished run stands in for another
    one with the comparison that was made at its time.
    """
    found = sorted(lineage.client.search_model_versions(f"name = '{model}'"), key=lambda version: -int(version.version))
    for version in found:
        if version.tags.get(TAG, "active") == "active" and version.tags.get("plumbline.step_key") != but:
            outputs = lineage.outputs(lineage.client.get_run(version.run_id))
            item = next(item for item in outputs.values() if item.registered_model == model)
            base = version.tags.get("plumbline.base_digest", "")
            return ModelVersion(model, str(version.version), item.digest, lineage.fetch(item), base)
    return None


def _state(lineage: Lineage, item: Published) -> str:
    version = lineage.version(item)
    tags = lineage.client.get_model_version(item.registered_model, version).tags if version else {}
    return str(tags.get(TAG, "active"))
