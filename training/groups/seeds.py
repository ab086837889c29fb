"""The seeds of a group as they are typed."""

from __future__ import annotations

import re

from ..settings.usage import UsageError

FORMS = "a number of seeds (8 is 0 to 7), a range (10-19), or a list (3,5 or [3,5])"
# More in one process is a slip of the finger.
MOST = 10_000


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that `--seeds` asks for, each once.

    Raises:
        UsageError: it is none of the forms, or a seed comes twice.
    """
    words = text.strip()
    inner = words[1:-1] if words.startswith("[") and words.endswith("]") else words
    seeds: list[int] = []
    if words.isdecimal():
        seeds = list(range(min(int(words), MOST + 1)))
    elif span := re.fullmatch(r"(\d+)\s*-\s*(\d+)", words):
        first, last = int(span[1]), int(span[2])
        seeds = list(range(first, min(last, first + MOST) + 1))
    elif re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*,?\s*", inner):
        seeds = [int(word) for word in inner.split(",") if word.strip()]
    if not seeds:
        raise UsageError(f"--seeds {text}: give {FORMS}")
    if len(seeds) > MOST:
        raise UsageError(f"--seeds {text}: at most {MOST:,} seeds")
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None) if len(seeds) < 1000 else None
    if twice is not None:
        raise UsageError(f"--seeds {text}: seed {twice} comes twice")
    return seeds
