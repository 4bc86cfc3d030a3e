"""Runs the step `ppo`."""

from components.entrypoint import main

if __name__ == "__main__":
    main("ppo")
