import pytest

from palaestra.training.imagination import reachable


@pytest.fixture(autouse=True)
def brief_judge(request, monkeypatch):
    """What a judge has learned is tested in one place; elsewhere it takes most of the time of a report."""
    if request.path.name != "test_reachable.py":
        monkeypatch.setattr(reachable, "UPDATES", 20)
