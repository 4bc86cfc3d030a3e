"""What Airflow has to know before it reads a DAG: links that tasks may carry, and the entry in its navigation."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from plumbline_airflow.links import PackLink, RunLink, governance


class PlumblinePlugin(AirflowPlugin):
    """Registers the links from a task to its MLflow run and pack, and from the navigation to all packs."""

    name = "plumbline"
    operator_extra_links = [RunLink(), PackLink()]  # noqa: RUF012  (Airflow's own annotation)
    external_views = [governance()]  # noqa: RUF012
