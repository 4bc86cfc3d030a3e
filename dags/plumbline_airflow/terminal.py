"""What `make run` shows: a line for each step, the verdict with its gaps, and the question. Standard library only."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 24
SHOWN_GAPS = 8


@dataclass
class Screen:
    """Follows the events of a run and draws them, one line per step."""

    events: Path
    out: TextIO = field(default_factory=lambda: sys.stdout)
    began: dict[str, float] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    ended: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    pack: str = ""
    pack_digest: str = ""
    release: str = ""
    pipeline_run: str = ""
    place: int = 0
    line: str = ""

    def update(self) -> None:
        """Draw what happened since the last call."""
        if not self.events.exists():
            return
        with self.events.open(encoding="utf-8") as file:
            file.seek(self.place)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self.place += len(whole.encode())
        for line in whole.splitlines():
            event = json.loads(line)
            getattr(self, f"_on_{event['kind']}")(event["step"], event["at"], *event["words"])

    def _on_begin(self, step: str, at: float, run: str) -> None:
        self.began[step] = at
        self.pipeline_run = run
        self._draw(f"  {step:<10} …")

    def _on_progress(self, step: str, at: float, text: str) -> None:
        _, _, rest = text.partition(" ")
        count, _, note = rest.partition(" ")
        done, _, total = count.partition("/")
        share = int(done) / max(1, int(total))
        filled = round(share * WIDTH)
        bar = "█" * filled + "·" * (WIDTH - filled)
        self._draw(f"  {step:<10} {bar} {count} {note}  {at - self.began[step]:.0f} s")

    def _on_reused(self, step: str, _at: float, _text: str) -> None:
        self.reused.add(step)

    def _on_pack(self, _step: str, _at: float, path: str) -> None:
        self.pack = path

    def _on_candidate(self, _step: str, _at: float, digest: str) -> None:
        self.pack_digest = digest

    def _on_release(self, _step: str, _at: float, path: str) -> None:
        self.release = path

    def _on_end(self, step: str, at: float, code: str, complaint: str) -> None:
        self.ended[step] = int(code)
        seconds = at - self.began[step]
        how = "reused" if step in self.reused else "done"
        if int(code):
            how = "stopped"
            self.complaints.append(complaint)
        self._draw(f"  {step:<10} {how}  {seconds:.1f} s")
        self.out.write("\n")
        self.line = ""
        if int(code):
            self.out.write(f"\n{_paragraph(complaint)}\n\n")
        self.out.flush()

    def _draw(self, line: str) -> None:
        """On a terminal, over the last line; elsewhere only what ends a step is written."""
        if self.out.isatty():
            self.out.write("\r" + line.ljust(len(self.line)))
            self.line = line
            self.out.flush()
        elif " done " in line or " reused " in line or " stopped " in line:
            self.out.write(line)


def _paragraph(complaint: str) -> str:
    """The step's own last paragraph: its error, without the traceback before it."""
    lines = complaint.splitlines()
    starts = [index for index, line in enumerate(lines) if line.split(":")[0] in _ERRORS or " stopped: " in line]
    return "\n".join(lines[starts[-1] :]) if starts else "\n".join(lines[-5:])


_ERRORS = ("ConfigRefused", "DataRefused", "ArtifactRefused", "ModelRefused", "GateFailed", "TryAgain")


def verdict(pack: Path) -> dict[str, Any]:
    """The pack's summary."""
    summary: dict[str, Any] = json.loads((pack / "summary.json").read_text(encoding="utf-8"))
    return summary


def show_candidate(summary: dict[str, Any], pack: Path, out: TextIO) -> None:
    """Verdict, gates and gaps of a candidate."""
    out.write(
        f"\nCandidate: policy version {summary['policy_version']}.  Verdict of the gates: {summary['verdict'].upper()}\n\n"
    )
    out.writelines(f"  {gate['verdict']:<10} {gate['name']:<28} {gate['text']}\n" for gate in summary["gates"])
    gaps = summary["gaps"]
    out.write(f"\n{len(gaps)} gaps (what the documents can't state, and why):\n")
    out.writelines(f"  - {gap['name']}: {gap['reason']}\n" for gap in gaps[:SHOWN_GAPS])
    if len(gaps) > SHOWN_GAPS:
        out.write(f"  … and {len(gaps) - SHOWN_GAPS} more, listed on the pack's front page\n")
    out.write(f"\nDraft pack: {os.path.relpath(pack / summary['index'])}\n")
    out.flush()


def ask(out: TextIO) -> dict[str, str]:
    """Ask the person at the terminal, until there is a decision, a name and a reason."""
    decision = ""
    while decision not in {"approve", "reject"}:
        out.write("\nRelease it? Type approve or reject: ")
        out.flush()
        decision = input().strip().lower()
    name = input(f"Your name [{getpass.getuser()}]: ").strip() or getpass.getuser()
    reason = ""
    while len(reason) < 10:
        reason = input("Why (at least 10 characters; it goes into the signed record): ").strip()
    return {"decision": decision, "by": name, "channel": "terminal", "reason": reason}


def elapsed(since: float) -> str:
    """`2 min 5 s`."""
    seconds = round(time.time() - since)
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
