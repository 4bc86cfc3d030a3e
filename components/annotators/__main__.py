"""Runs the step `annotators`; `erase PSEUDONYM` and `retention` are commands of their own."""

import sys

from components.annotators import rights
from components.entrypoint import main

if __name__ == "__main__":
    if sys.argv[1:2] in (["erase"], ["retention"]):
        rights.main()
    else:
        main("annotators")
