"""Validate: lets in what can be trusted to be well-formed, and keeps what it turned away, with reasons.

Reads:   data_version (which files, by digest); from outside: the data folder that it names
Writes:  corpus, demonstrations, comparisons, golden, prompts, annotators (accepted rows), quarantine (every other row with
         its rule and reason; near_duplicates.jsonl and personal_data.jsonl say where such were found), data_docs (Great
         Expectations' results as pages; drift.json: how the data differ from the last accepted version)
Refuses: files that changed since `start`; a share of quarantined rows above its limit; accepted rows that break an
         expectation of suites/*.json (schema, ranges, lengths, references between tables, duplicates, balance of labels,
         languages, near-duplicate prompts, personal data; limits are settings); drift beyond its limit
Read in this order: config.py, step.py, rows.py, accepted.py, columns.py, findings.py, personal.py, similar.py, languages.py,
drift.py, expectations.py, pages.py

Rows are judged one by one (rows.py), tables as a whole (suites). In = accepted + quarantined, for every table.
What it does not cover: whether what is said in the rows is true, or whether annotators can be trusted.
"""
