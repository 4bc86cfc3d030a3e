"""Approve: makes a person's answer a signed record.

Reads:   evaluation (the verdict), pack (what the person was shown, by digest); from outside: the answer
Writes:  approval (approval.json, `plumbline.human-approval/v1`, signed through this step's link)
Refuses: an answer without a decision, a name, a reason or a time; an approval of a failed gate unless override is allowed;
         an approval by somebody who may not, or of another pack than the person was shown (components/approval.py)
Read in this order: config.py, step.py

The answer comes from Airflow's human-in-the-loop task, the terminal, or `make run APPROVE=unattended`; the record says
which. Airflow's own task state proves nothing: `deploy` reads this record and nothing else. A rejection is recorded like
an approval; then the step ends as a failed gate.
What it does not cover: whether the answerer is who the channel says. That is the channel's business, so it is named.
"""
