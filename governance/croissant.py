"""The preference data as a Croissant 1.0 data set with its responsible-AI properties: the datasheet's machine twin.

Only facts and declarations go in; what is not known is left out, and the datasheet says that it is. Groups of annotators are
described by their suppressed margins alone, never row by row.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec.html and .../croissant-rai-spec.html (spelling of its table).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from governance.facts import Facts

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
CONFORMS = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
FIELDS = {
    "comparisons": {
        "id": "sc:Text",
        "prompt_id": "sc:Text",
        "label": "sc:Text",
        "strength": "sc:Integer",
        "guideline": "sc:Text",
        "labelled_at": "sc:Text",
    },
    "prompts": {"id": "sc:Text", "kind": "sc:Text", "split": "sc:Text"},
}
"""Table → field → type. Who labelled stays out: a public description has no data of single people."""
DECLARED = {
    "description": "data_purpose",
    "license": "data_licence",
    "creator": "data_creator",
    "rai:dataCollection": "data_mechanism",
    "rai:dataAnnotationProtocol": "annotator_recruitment",
    "rai:dataReleaseMaintenancePlan": "data_updates",
    "rai:personalSensitiveInformation": "data_sensitive",
    "rai:dataSocialImpact": "impact_assessment",
    "rai:dataLimitations": "data_limits",
    "rai:dataUseCases": "data_purpose",
}
"""Property → question of system.yaml."""


def text(facts: Facts) -> str:
    """The description as JSON-LD. Same facts, same bytes."""
    return json.dumps(_dataset(facts), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _dataset(facts: Facts) -> dict[str, Any]:
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": "preference-data",
        "description": "Comparisons of answers by annotators, with the prompts they answer. See the datasheet.",
    }
    version = facts.value("start.facts.data.md5")
    if version:
        made["version"] = f"1.0.0+{str(version).partition('.')[0]}"
    for name, question in DECLARED.items():
        declared = facts.value(f"system.{question}")
        if declared:
            made[name] = {"@type": "sc:Organization", "name": declared} if name == "creator" else declared
    tables = [table for table in FIELDS if f"validate.facts.table_files.{table}.sha256" in facts]
    made["distribution"] = [_file(facts, table) for table in tables]
    made["recordSet"] = [_record_set(table) for table in tables]
    return made | _measured(facts)


def _file(facts: Facts, table: str) -> dict[str, Any]:
    name = f"validate.facts.table_files.{table}"
    return {
        "@type": "cr:FileObject",
        "@id": f"{table}.jsonl",
        "name": f"{table}.jsonl",
        "contentUrl": f"{table}.jsonl",
        "contentSize": f"{facts.value(f'{name}.bytes')} B",
        "encodingFormat": "application/jsonlines",
        "sha256": facts.value(f"{name}.sha256"),
    }


def _record_set(table: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{table}/{field}",
                "name": field,
                "dataType": kind,
                "source": {"fileObject": {"@id": f"{table}.jsonl"}, "extract": {"column": field}},
            }
            for field, kind in FIELDS[table].items()
        ],
    }


def _measured(facts: Facts) -> dict[str, Any]:
    """Responsible-AI properties that records answer."""
    sizes = facts.children("annotators.facts.labels_by.annotators_per_pair")
    per_item = [f"{facts.value(f'annotators.facts.labels_by.annotators_per_pair.{size}')} pairs with {size}" for size in sizes]
    alpha = facts.get("annotators.measurements.alpha.value")
    ends = [facts.value(f"annotators.facts.labels_by.{end}_labelled_at") for end in ("first", "last")]
    found = {
        "rai:annotationsPerItem": ", ".join(per_item),
        "rai:annotatorDemographics": _demographics(facts),
        "rai:dataCollectionTimeframe": [str(end) for end in ends if end],
        "rai:dataAnnotationPlatform": _cells(facts, "annotators.facts.work.platform.cells"),
        "rai:dataAnnotationAnalysis": [f"Krippendorff's alpha {alpha.value:.3f}, labels {alpha.n}"] if alpha else [],
        "rai:dataBiases": [
            f"{unquote(term)}: log-odds {facts.value(f'annotators.facts.bias.on_known_pairs.{term}.value')}"
            for term in facts.children("annotators.facts.bias.on_known_pairs")
        ],
    }
    return {name: value for name, value in found.items() if value}


def _demographics(facts: Facts) -> list[str]:
    prefix = "annotators.facts.pool.margins"
    return [f"{unquote(name)}: {', '.join(_cells(facts, f'{prefix}.{name}.cells'))}" for name in facts.children(prefix)]


def _cells(facts: Facts, prefix: str) -> list[str]:
    return [f"{unquote(value)} {facts.value(f'{prefix}.{value}')}" for value in facts.children(prefix)]
