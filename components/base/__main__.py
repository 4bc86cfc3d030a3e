"""Runs the step `base`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("base")
