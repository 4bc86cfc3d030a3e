"""What DAGs tell each other."""

from __future__ import annotations

from airflow.sdk import Asset

CANDIDATE = Asset("candidate", uri="plumbline://candidate")
"""A policy with its draft pack. Its event carries `pipeline_run` and the summary that the approver is shown."""
