"""Whether one of Airflow's components is at work, as its API server says: `python healthy.py scheduler`."""

from __future__ import annotations

import json
import sys
import urllib.request

ADDRESS = "http://airflow-api:8080/api/v2/monitor/health"

if __name__ == "__main__":
    with urllib.request.urlopen(ADDRESS, timeout=10) as answer:
        sys.exit(json.load(answer)[sys.argv[1]]["status"] != "healthy")
