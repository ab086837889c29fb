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
