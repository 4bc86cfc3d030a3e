"""Runs the step `approve`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("approve")
