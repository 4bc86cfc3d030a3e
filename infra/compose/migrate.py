"""Brings Airflow's database to this version, and makes the pool that training steps wait for."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (["db", "migrate"], ["pools", "set", "gpu", "1", "Steps that train"])

if __name__ == "__main__":
    for words in COMMANDS:
        subprocess.run([sys.executable, "-m", "airflow", *words], check=True)
