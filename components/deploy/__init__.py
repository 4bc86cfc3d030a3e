"""Deploy: an approved candidate becomes the champion, with a folder to run it from and a way back.

Reads:   base_model, policy_adapter, evaluation (verdict), pack, approval
Writes:  release (release.json); outside the pipeline: the folder releases/policy-vN, the file releases/CURRENT, aliases
         `champion` and `previous`
Refuses: no approval record, one that `approve` did not sign, a rejection, an approval of another pack or evaluation, or by
         somebody who may not (components/approval.py), gates that did not pass without a recorded override, inputs that their
         writers did not sign, weights whose smoke prompts fail
Read in this order: config.py, step.py, smoke.py, serving.py, rollback.py

The folder is complete before anybody can see it: it is written under another name, its weights answer the smoke prompts,
and only then it gets its name and the aliases move. Where a gateway serves (PLUMBLINE_GATEWAY), it has to take the release
into service, canary prompts answered. If anything fails after the name, aliases, folder and what is served go back.
"""
