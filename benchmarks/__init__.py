"""Benchmarks: `make bench NAME=...` runs one; its last line is one line of JSON. Results are in RESULTS.md."""
