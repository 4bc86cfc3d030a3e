"""The pipeline's steps and what they share.

Every folder is a step, run as `python -m components.STEP --pipeline-run ID`; every file is shared by all steps.
Two folders are not steps: `testbed` makes the embedded world, `importers` turns public formats into our records.
Read in this order: catalog.py, context.py, entrypoint.py, lineage.py, evidence.py, then the steps.
"""
