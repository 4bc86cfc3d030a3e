"""Runs the step `start`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("start")
