"""From a preference export to a candidate policy, with the draft of the documents that would justify its release.

    start ── validate ── annotators ── base ── sft ── reward ── ppo ── evaluate ── document ──▶ candidate
                                                └────────────────┘
                                             start point and KL reference

Each task is one step of `components/`. Steps hand nothing to each other through
Airflow: each finds its inputs in MLflow by the lineage of this run. It is started by hand, by a schedule, or by a change of
the base model or the data. A candidate starts the DAG `release`.
"""

from __future__ import annotations

from airflow.sdk import DAG

from plumbline_airflow.assets import CANDIDATE
from plumbline_airflow.form import trigger_form
from plumbline_airflow.schedule import schedule
from plumbline_airflow.steps import step

with DAG(
    "align", doc_md=__doc__, schedule=schedule(), catchup=False, max_active_runs=1, params=trigger_form(), tags=["rlhf"]
) as dag:
    start = step("start")
    validate = step("validate")
    annotators = step("annotators")
    base = step("base")
    sft = step("sft")
    reward = step("reward")
    ppo = step("ppo")
    evaluate = step("evaluate")
    document = step("document", outlets=[CANDIDATE])

    start >> validate >> annotators >> base >> sft >> reward >> ppo >> evaluate >> document
    sft >> ppo
