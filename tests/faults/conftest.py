"""The campaign's table: what was tried, how often, and what did not hold; printed at the end of a session."""

import multiprocessing
from collections import Counter

import pytest

from palaestra.training.cli.main import run

TRIED: Counter[str] = Counter()
FAILED: Counter[str] = Counter()


def pytest_collection_modifyitems(items):
    """Everything here takes minutes."""
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def tried(request):
    """Count a trial of one kind: `tried("killed runs")`; where the test then fails, the kind has a failure."""
    kinds: list[str] = []

    def count(kind: str, times: int = 1) -> None:
        TRIED[kind] += times
        kinds.append(kind)

    yield count
    if request.node.stash.get(OUTCOME, "passed") == "failed":
        FAILED.update(set(kinds))


OUTCOME = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[OUTCOME] = report.outcome
    return report


def pytest_terminal_summary(terminalreporter):
    if TRIED:
        terminalreporter.section("fault campaign")
        terminalreporter.write_line("| kind | tried | tests that failed |")
        terminalreporter.write_line("|---|---|---|")
        for kind, times in sorted(TRIED.items()):
            terminalreporter.write_line(f"| {kind} | {times} | {FAILED[kind]} |")


@pytest.fixture(scope="session")
def start():
    """Start a command in a process of its own: a fork of one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["palaestra.training.cli.main", "palaestra.training.settings.train_options"]
    )

    def start(*words):
        process = context.Process(target=_command, args=(words,))
        process.start()
        return process

    return start


def _command(words):
    raise SystemExit(run(list(words)))
