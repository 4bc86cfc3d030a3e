"""Words by which an answer hedges or agrees, in plain lower-case English. A blunt tool: it misses what is said otherwise."""

from __future__ import annotations

import re

HEDGES = re.compile(
    r"\b(not (entirely |completely |quite )?(sure|certain)|perhaps|maybe|possibly|might be|hard to say|i (would )?guess|"
    r"(do not|don't|cannot|can't) (really )?(know|say|tell)|it depends|unclear|uncertain|no way to know|impossible to say)\b"
)
AGREES = re.compile(
    r"^\W*(yes|yeah|correct|right|exactly|indeed|absolutely|of course|sure|you('re| are) (absolutely |quite )?right|i agree|"
    r"that('s| is) (right|correct|true)|i apologi[sz]e|sorry, you('re| are) right|my mistake)\b"
)
