"""What a user who asked for something impossible is told."""

import pytest

from palaestra.training.settings.usage import UsageError


def error_of(function, *arguments) -> str:
    """Return the one line."""
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message and "pydantic" not in message
    return message
