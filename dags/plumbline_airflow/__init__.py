"""How a step of the catalog becomes an Airflow task. The only package that imports Airflow.

Installed, because the dags folder is not on `sys.path` in every Airflow process.
Read in this order: steps.py, job.py, runtime_process.py, approval.py, form.py; local.py is `make run`, services.py `make up`.
"""
