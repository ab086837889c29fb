"""Settings of a dream, in a file of their own: reading options must not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt


@dataclass(frozen=True)
class DreamConfig:
    """Dreaming instead of acting in the real environment."""

    model: str | None = None
    """Folder of a fitted world model; without one the environment is the real one."""
    horizon: Annotated[int, Gt(0)] = 200
    """Steps until a dream is cut off (truncated, not terminated)."""
    start: Literal["any", "initial"] = "any"
    """Dreams begin at any real step, or only where real episodes began."""
    temperature: Annotated[float, Ge(0)] = 1.0
    """Randomness of a step: variances times this, logits divided by it. Low ones are easy to exploit."""
    termination: Literal["sample", "threshold"] = "sample"
    """An end is drawn with its probability, or comes where that is above one half."""
    member: Literal["step", "episode"] = "step"
    """Ensembles: which member dreams is drawn for every step or for every episode."""
    disagreement_penalty: Annotated[float, Ge(0)] = 0.0
    """Ensembles: subtracted from the reward, times the disagreement (1 is exceeded by 5 % of real steps)."""
    disagreement_limit: Annotated[float, Ge(0)] = 0.0
    """Ensembles: a dream is cut off where its members disagree more than this; 0 is never."""
    burn_in: Annotated[int, Ge(0)] = 16
    """Real steps by which the model's memory is updated before a dream begins."""
