"""The process in which `make run` runs the DAGs: Airflow's own `dag.test()`, one command after another.

Reads one JSON object a line on stdin: `{"dag": "align", "conf": {...}, "answer": {...}}`; writes on the descriptor that
PLUMBLINE_REPLIES names one line each: `ready`, then `STATE RUN_ID` for each command. An `answer` is given to the waiting
human task through the same function as Airflow's own API uses.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import quiet

POLL_SECONDS = 0.2


def main() -> None:
    """Serve commands until stdin ends."""
    gc.set_threshold(quiet.GARBAGE_AT)
    replies = os.fdopen(int(os.environ["PLUMBLINE_REPLIES"]), "w")
    dags = _load()
    _reply(replies, "ready")
    for line in sys.stdin:
        command = json.loads(line)
        if command.get("answer"):
            threading.Thread(target=_answer, args=(command["answer"],), daemon=True).start()
        run = dags[command["dag"]].test(run_conf=command["conf"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a task's handler outlives it: asked to end, we would read on
        _reply(replies, f"{getattr(run.state, 'value', run.state)} {run.run_id}")


def _reply(replies: Any, line: str) -> None:
    replies.write(line + "\n")
    replies.flush()


def _load() -> dict[str, Any]:
    """The DAGs of the dags folder, with a migrated database behind them."""
    from airflow.configuration import conf  # noqa: PLC0415  (Airflow reads its environment on import)
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415
    from airflow.utils import db  # noqa: PLC0415

    if not (Path(os.environ["AIRFLOW_HOME"]) / "migrated").exists():
        db.upgradedb()
        (Path(os.environ["AIRFLOW_HOME"]) / "migrated").touch()
    _pools()
    bag = DagBag(conf.get("core", "dags_folder"))
    if bag.import_errors:
        sys.exit("\n".join(f"{path}: {error}" for path, error in bag.import_errors.items()))
    return dict(bag.dags)


def _pools() -> None:
    """A task in a pool that does not exist would wait for ever without a word."""
    from airflow.models.pool import Pool  # noqa: PLC0415

    Pool.create_or_update_pool("gpu", slots=1, description="Steps that train", include_deferred=False)


def _answer(answer: dict[str, str]) -> None:
    """Wait until a human task asks, then answer it once."""
    from airflow.utils.session import create_session  # noqa: PLC0415

    while True:
        with create_session() as session:
            if _respond(answer, session):
                return
        time.sleep(POLL_SECONDS)


def _respond(answer: dict[str, str], session: Any) -> bool:
    from airflow.models.hitl import HITLDetail, HITLUser  # noqa: PLC0415
    from airflow.models.taskinstance import TaskInstance  # noqa: PLC0415
    from airflow.models.trigger import handle_event_submit  # noqa: PLC0415
    from airflow.triggers.base import TriggerEvent  # noqa: PLC0415
    from airflow.utils.state import TaskInstanceState  # noqa: PLC0415

    waiting = session.query(TaskInstance).filter(TaskInstance.state == TaskInstanceState.AWAITING_INPUT).all()
    for task in waiting:
        detail = session.get(HITLDetail, task.id)
        if detail is None or detail.response_received:
            continue
        who = f"{answer['channel']}:{answer['by']}"
        detail.responded_by = HITLUser(id=who, name=answer["by"])
        detail.responded_at = datetime.now(UTC)
        detail.chosen_options = [answer["decision"].capitalize()]
        detail.params_input = {"reason": answer["reason"], "pack": answer.get("pack", ""), "summary": ""}
        handle_event_submit(TriggerEvent(detail.as_resume_event_payload()), task_instance=task, session=session)
        return True
    return False


if __name__ == "__main__":
    main()
