"""From a candidate to a champion: a person decides, and only what was approved goes out.

    candidate ──▶ review ── second_review ── approve ── deploy ──▶ champion
                  (a person)  (another)

`review` waits for a person: approve or reject, with a reason; `second_review` for another one, where the config asks for
two, and else lets the run pass. Nobody answers for a week: rejected. `approve` makes the answer a signed record, bound to the
digest of what was shown. `deploy` trusts that record and nothing that Airflow says. A run that waits for days blocks nobody.
"""

from __future__ import annotations

from airflow.sdk import DAG

from plumbline_airflow.approval import review
from plumbline_airflow.assets import CANDIDATE
from plumbline_airflow.form import release_form
from plumbline_airflow.steps import step

with DAG(
    "release", doc_md=__doc__, schedule=[CANDIDATE], catchup=False, max_active_runs=16, params=release_form(), tags=["rlhf"]
) as dag:
    ask = review("review")
    ask_again = review("second_review", second=True)
    approve = step("approve")
    deploy = step("deploy")

    ask >> ask_again >> approve >> deploy
