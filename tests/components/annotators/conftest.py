"""Labels made by people of whom the truth is known, as arrays."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from components import records
from components.annotators.labels import read


class World:
    """Pairs with a known better answer, and people who label them as they are told to."""

    def __init__(self, folder, pairs, *, seed=0):
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.answers = [(f"a good answer {pair}", f"bad answer {pair} with more words in it") for pair in range(pairs)]
        self.rows = []

    def label(self, name, *, accuracy=0.8, pairs=None, seconds=30.0, choose=None, start=0):
        """`choose(rng, place, good_first)` may return a label; else the better one is taken with this accuracy."""
        begin = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=start)
        for place, pair in enumerate(range(len(self.answers)) if pairs is None else pairs):
            good_first = bool(self.rng.random() < 0.5)
            better, worse = ("first", "second") if good_first else ("second", "first")
            chosen = choose(self.rng, place, good_first) if choose else None
            label = chosen or (better if self.rng.random() < accuracy else worse)
            good, bad = self.answers[pair]
            self.rows.append(
                {
                    "id": f"{name}-{pair}",
                    "prompt_id": f"p{pair}",
                    "responses": [good, bad] if good_first else [bad, good],
                    "label": label,
                    "strength": int(1 + self.rng.integers(3)),
                    "annotator": name,
                    "seconds_taken": seconds,
                    "labelled_at": (begin + timedelta(minutes=place)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "guideline": "v1",
                    "criteria": {},
                }
            )
        return self

    def read(self, golden=()):
        path = self.folder / "comparisons.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        known = [
            records.GoldenPair(id=f"g{pair}", prompt_id=f"p{pair}", responses=self.answers[pair], better="first")
            for pair in golden
        ]
        return read(path, opinions={f"p{pair}": True for pair in range(len(self.answers))}, golden=known)


@pytest.fixture
def world(tmp_path):
    return lambda pairs, **options: World(tmp_path, pairs, **options)
