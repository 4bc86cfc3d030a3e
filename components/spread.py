"""Start a step as several processes by torchrun, and end as the step does.

    python -m components.spread --standalone --nproc-per-node=2 -m components.ppo --pipeline-run ID

takes torchrun's own options. torchrun itself ends with 1 whatever the step said, and a step that refused its input would be
tried again and again; this ends with the exit code of the process that failed first, 128 + N for signal N.
"""

from __future__ import annotations

import sys


def main(words: list[str]) -> int:
    """Run, and say with which code to exit."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415  (seconds of import)
    from torch.distributed.run import main as torchrun  # noqa: PLC0415

    try:
        torchrun(words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
