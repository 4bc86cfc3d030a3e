"""Runs the step `reward`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("reward")
