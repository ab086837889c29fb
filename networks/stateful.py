"""What a checkpoint can hold."""

from __future__ import annotations

from typing import Any, Protocol


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that must survive: nested dicts of tensors, arrays, numbers, strings and lists."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take back what `state_dict` gave."""
        ...


class Kept:
    """State of one part, out of a checkpoint or for one."""

    def __init__(self, state: Any = None):
        self.state = state

    def state_dict(self) -> Any:
        """The state."""
        return self.state

    def load_state_dict(self, state: Any) -> None:
        """Keep it."""
        self.state = state
