"""Evaluate: finds out whether the candidate is worse than what it would replace, and decides the gates.

Reads:   prompts (split `evaluation`), comparisons (for the judge), corpus (held-out text), base_model, sft_adapter,
         policy_adapter, reward_adapter (by digest only: its score proves nothing here); the champion, where there is one, with
         its own base model where it is another; the evaluations of the last releases
Writes:  evaluation (report.html, report.json, inspect, samples.jsonl, red_team_findings.jsonl, tables)
Refuses: no prompt of the split `evaluation` that fits into the context; a suite or metric in the settings that there is not
Read in this order: config.py, step.py, suite.py, suites/, material.py, truth.py, panel.py, forks.py, champion.py, texts.py,
decoding.py, statistics.py, gaps.py, gates.py, report.py, trend.py, page.py, inspectlogs.py
What each suite covers and what not: docs/evaluation.md

Base, SFT, champion and candidate answer the same prompts with the same noise and decoding. Where the truth is known (the
testbed), the gold function scores the answers; elsewhere a judge that no training saw compares them, and its own accuracy
stands beside every result. A gate that can't decide has not passed.
"""
