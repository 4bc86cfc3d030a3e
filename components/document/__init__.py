"""Document: has governance render the pack of this release from the evidence that the earlier steps left.

Reads:   evaluation (its report goes into the pack), and the evidence records of the steps before this one
Writes:  pack (index.html, model_card.md and .html, summary.json, evidence/, declared/, attachments/, manifest.json)
Refuses: evidence that governance can't read
Read in this order: config.py, step.py

Governance is called through its command line, so that it sees evidence and nothing else.
"""
