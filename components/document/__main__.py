"""Runs the step `document`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("document")
