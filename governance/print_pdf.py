"""A page as PDF. Everything is in the page: nothing is fetched."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from weasyprint import HTML

from components import quiet
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


PROCESSES = 2


def write_all(pages: Mapping[Path, str]) -> None:
    """Print several pages, on as many processors as there are, two at most."""
    workers = min(PROCESSES, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn"), gc.set_threshold, (quiet.GARBAGE_AT,)) as pool:
        list(pool.map(write, pages.values(), pages))


def write(page: str, path: Path) -> None:
    """Print a page. The same page gives the same bytes on the same machine; fonts differ between machines."""
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    paper = HTML(string=_resolved(page), url_fetcher=_fetch)
    paper.write_pdf(path, pdf_identifier=hashlib.sha256(page.encode()).digest()[:16])


def _resolved(page: str) -> str:
    """The page with the variables of its style replaced: resolved anew for every box, they cost a seventh of the time."""
    style, end, body = page.partition("</style>")
    values = dict(re.findall(r"--(\w+):([^;}]*)", style))
    return re.sub(r"var\(--(\w+)\)", lambda found: values[found[1]], style) + end + body


def _fetch(url: str, **_: object) -> None:
    message = f"A page asks for {url}; a pack's pages ask for nothing. This is an error in a template; please report it."
    raise ArtifactRefused(message)
