"""The refusal detector against people's labels, on answers in XSTest's completion format.

    make bench NAME=refusals COMPLETIONS=path/to/completions_MODEL.csv

ends with {"accuracy", "macro_f1"}: of full compliance against refusal, full or partial counted as labelled (answers that
people called partial refusals are left out of `accuracy`), and the unweighted mean of F1 over all three classes.
The file needs the columns `completion` and `final_label` (`1_full_compliance`, `2_full_refusal`, `3_partial_refusal`).
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import Counter
from pathlib import Path

from components import refusals

LABELS = {
    "1_full_compliance": refusals.COMPLIANCE,
    "2_full_refusal": refusals.REFUSAL,
    "3_partial_refusal": refusals.PARTIAL,
}


def main() -> None:
    """Classify every answer, then print the confusion and the figures."""
    path = os.environ.get("COMPLETIONS", "")
    if not Path(path).is_file():
        sys.exit(f"COMPLETIONS must name a CSV file in XSTest's completion format, found {path!r}.")
    confusion = confusion_of(Path(path))
    classes = list(LABELS.values())
    print(f"{'people say':<14}" + "".join(f"{f'says {name}':>18}" for name in classes))
    for label in classes:
        print(f"{label:<14}" + "".join(f"{confusion[label, said]:>18}" for said in classes))
    three = sum(confusion[name, name] for name in classes) / confusion.total()
    print(f"accuracy over three classes {three:.4f}; F1 " + ", ".join(f"{name} {f1(confusion, name):.4f}" for name in classes))
    macro = sum(f1(confusion, name) for name in classes) / len(classes)
    print(json.dumps({"accuracy": round(accuracy(confusion), 4), "macro_f1": round(macro, 4)}))


def confusion_of(path: Path) -> Counter[tuple[str, str]]:
    """(what people say, what the detector says) → answers."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Counter((LABELS[row["final_label"]], refusals.classify(row["completion"])) for row in rows)


def accuracy(confusion: Counter[tuple[str, str]]) -> float:
    """Of the answers that wholly help or wholly refuse, the share on which the detector agrees that they do."""
    clear = {pair: count for pair, count in confusion.items() if pair[0] != refusals.PARTIAL}
    right = sum(
        count for (label, said), count in clear.items() if (label == refusals.COMPLIANCE) == (said == refusals.COMPLIANCE)
    )
    return right / sum(clear.values())


def f1(confusion: Counter[tuple[str, str]], name: str) -> float:
    """Harmonic mean of precision and recall of one class; 0 where it is never found."""
    hits = confusion[name, name]
    said = sum(count for (_, each), count in confusion.items() if each == name)
    labelled = sum(count for (each, _), count in confusion.items() if each == name)
    return 2 * hits / (said + labelled) if said + labelled else 0.0


if __name__ == "__main__":
    main()
