"""The suites: every file here defines one `SUITE`, with its data beside it. To add a suite, add a file; nothing lists them.

What a suite is: components/evaluate/suite.py. What each covers and what not: its own text, and docs/evaluation.md.
"""
