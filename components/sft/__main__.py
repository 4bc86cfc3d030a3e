"""Runs the step `sft`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("sft")
