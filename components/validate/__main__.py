"""Runs the step `validate`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("validate")
