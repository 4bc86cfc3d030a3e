"""Truth of items from labels of a crowd, beside majority vote and crowd-kit's Dawid–Skene, on any public set.

    make bench NAME=crowd LABELS=labels.txt GOLD=gold.txt

LABELS: worker, item, label, separated by tabs. GOLD: item, label. Ends with {"accuracy", "majority", "dawid_skene_crowdkit"}:
shares of gold items that somebody labelled. Ours is Dawid and Skene's model in which everybody's table starts from the pool's,
as if it were four labels; a tie of the majority goes to the label that is more frequent overall.
crowd-kit 1.4.2 is installed once, in an environment of its own below ~/.cache/plumbline/peers, and runs 50 iterations.
Where a set's labels disagree about values, not facts (DICES-350), every estimator of this kind can do worse than majority.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import peers
from components.annotators.dawid_skene import dawid_skene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PRIOR_LABELS = 4.0
ITERATIONS = 50
PEER = ("crowd-kit==1.4.2",)
SCRIPT = """
import json, sys, time
import pandas as pd
from crowdkit.aggregation import DawidSkene
frame = pd.read_csv(sys.argv[1], sep="\\t", header=None, names=["worker", "task", "label"], dtype=str, keep_default_na=False,
                    quoting=3)
begin = time.perf_counter()
found = DawidSkene(n_iter=int(sys.argv[2])).fit_predict(frame)
seconds = time.perf_counter() - begin
json.dump({"seconds": seconds, "labels": found.to_dict()}, open(sys.argv[3], "w"))
"""


def main() -> None:
    """Estimate three times and compare with the gold."""
    labels, gold = (os.environ.get(name, "") for name in ("LABELS", "GOLD"))
    if not labels or not gold:
        sys.exit("Give both files: make bench NAME=crowd LABELS=worker-item-label.tsv GOLD=item-label.tsv")
    rows, known = _read(labels, 3), dict(_read(gold, 2))
    items, workers, said, names = encoded(rows)
    row = {item: place for place, item in enumerate(dict.fromkeys(item for _, item, _ in rows))}
    ours = dawid_skene(items, workers, said, prior_labels=PRIOR_LABELS, iterations=ITERATIONS).posterior.argmax(axis=1)
    votes = np.zeros((len(row), len(names)))
    np.add.at(votes, (items, said), 1)
    majority = (votes + 1e-6 * votes.sum(axis=0) / len(rows)).argmax(axis=1)
    peer, _ = crowdkit(Path(labels), ITERATIONS)
    judged = [item for item in known if item in row]
    if not judged:
        sys.exit(f"No item of {gold} has a label in {labels}.")

    def share(found: dict[str, str]) -> float:
        return round(sum(found[item] == known[item] for item in judged) / len(judged), 4)

    figures = {
        "accuracy": share({item: names[ours[row[item]]] for item in judged}),
        "majority": share({item: names[majority[row[item]]] for item in judged}),
        "dawid_skene_crowdkit": share({item: peer[item] for item in judged}),
    }
    print(f"{len(rows)} labels, {len(row)} items, {len(set(workers))} workers, {len(judged)} gold items", file=sys.stderr)
    print(json.dumps(figures))


def encoded(
    rows: Sequence[Sequence[str]],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], list[str]]:
    """Items, workers and labels as numbers by first appearance, and the labels' names."""
    item: dict[str, int] = {}
    worker: dict[str, int] = {}
    label: dict[str, int] = {}
    found = np.array(
        [
            (item.setdefault(i, len(item)), worker.setdefault(w, len(worker)), label.setdefault(y, len(label)))
            for w, i, y in rows
        ],
        dtype=np.int32,
    )
    return found[:, 0], found[:, 1], found[:, 2], list(label)


def crowdkit(labels: Path, iterations: int) -> tuple[dict[str, str], float]:
    """crowd-kit's labels of the items, and the seconds it took on data that were already in memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [peers.environment(PEER), "-W", "ignore", "-c", SCRIPT, labels, str(iterations), out]
        subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return {str(item): str(label) for item, label in found["labels"].items()}, float(found["seconds"])


def _read(path: str, width: int) -> list[tuple[str, ...]]:
    """Rows of a tab-separated file.

    Raises:
        SystemExit: A line has another number of fields.
    """
    rows = []
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            fields = tuple(line.rstrip("\r\n").split("\t"))
            if line.strip() and len(fields) != width:
                sys.exit(f"{path}:{number} has {len(fields)} fields separated by tabs; {width} are expected.")
            if line.strip():
                rows.append(fields)
    return rows


if __name__ == "__main__":
    main()
