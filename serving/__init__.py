"""What people talk to: a maintained model server behind a thin gateway of ours.

The gateway follows the file CURRENT of the releases folder. A new release gets a model server of its own; when that has
answered the canary prompts, new requests go to it, and the old server ends after its last answer. So a switch fails
nobody, and a release that does not answer never sees a request.
Knows neither Airflow nor torch nor MLflow. Read in this order: release.py, backend.py, gateway.py, journal.py.
"""
