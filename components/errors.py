"""The tree of errors, and the exit code that each one gives a step.

A message answers where, what was expected, what was found and what to do, in at most three sentences.
Each class has a row in docs/errors.md.

    PlumblineError
    ├── Refused            65  the input is wrong; trying again will not help
    │   ├── ConfigRefused       a setting
    │   ├── DataRefused         a file or record of data
    │   ├── ArtifactRefused     a logged output of another step
    │   └── ModelRefused        a model or tokenizer
    ├── GateFailed         66  a gate or a person said no
    └── TryAgain           75  something outside is not ready: MLflow, disk, a lock
"""

from __future__ import annotations

REFUSED = 65
GATE_FAILED = 66
TRY_AGAIN = 75


class PlumblineError(Exception):
    """Base of every error that a person is meant to read."""

    exit_code = 1


class Refused(PlumblineError):  # noqa: N818  (it is what the person reads: `DataRefused: ...`)
    """The input is wrong. Never retried."""

    exit_code = REFUSED


class ConfigRefused(Refused):
    """A setting is unknown, missing, of the wrong type or out of range."""


class DataRefused(Refused):
    """A data file or record can't be used."""


class ArtifactRefused(Refused):
    """A logged output is missing, changed or not signed by its writer."""


class ModelRefused(Refused):
    """A model, adapter or tokenizer can't be used."""


class GateFailed(PlumblineError):  # noqa: N818  (as above)
    """A gate, or the person who decides, said no. Never retried."""

    exit_code = GATE_FAILED


class TryAgain(PlumblineError):  # noqa: N818  (as above)
    """Something outside the step is not ready. Retried with backoff."""

    exit_code = TRY_AGAIN
