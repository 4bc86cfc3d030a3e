"""Runs the step `evaluate`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("evaluate")
