"""Runs the step `deploy`; `python -m components.deploy rollback` goes back to the release before."""

import sys

from components.entrypoint import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["rollback"]:
        from components.deploy import rollback

        rollback.main(sys.argv[2:])
    else:
        main("deploy")
