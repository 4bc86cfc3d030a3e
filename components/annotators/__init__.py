"""Annotators: who labelled, how far each can be trusted, and what a reward model would learn from them.

Reads:   comparisons, golden (pairs of which the better answer is known), prompts, annotators
Writes:  label_weights (weights.jsonl: comparison → weight; posteriors.jsonl: pair → probability that its first response is
         better; audit.json: every annotator's figures, pseudonymous; summary.json: what documents may
         show; groups.json: who belongs to which group; tables.json: everybody's values in the tables that are
         shown, for `reward`), shown_pools (digests of the people whose tables a release shows, and which cells)
Refuses: comparisons that name no usable prompt; nothing else, a pool that can't be judged is said to be so
Read in this order: config.py, step.py, labels.py, dawid_skene.py, accuracy.py, typical.py, detectors.py, copying.py,
findings.py, agreement.py, pool.py, components/disclosure.py, tables.py, report.py,
successive.py, entries.py, beside.py

Exclusions are proposals with reasons. `annotators.exclusions` says whether they apply by themselves or wait for a person.
What it does not cover: whether a minority is wrong. Disagreement of one group with the others looks like error to every
statistic here; the agreement within groups is reported for that reason.

`python -m components.annotators erase PSEUDONYM` and `... retention` carry out rights of people: rights.py.
"""
