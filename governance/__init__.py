"""Governance: turns evidence into documents. Knows neither torch nor MLflow nor Airflow; reads evidence records only.

    python -m governance render EVIDENCE_DIR OUT_DIR    evidence → facts → documents, each number with its source
    python -m governance verify OUT_DIR                 what changed in a pack since it was rendered

A document states only what a record holds, or what the organisation declared in system.yaml. What is missing becomes a
gap with a reason, in the gap ledger and on the front page; it is never written as a zero or an empty cell.
Same evidence, same bytes.
Read in this order: facts.py, views.py, citations.py, escape.py, render.py, pack.py, __main__.py; templates/ holds the documents
"""
