"""What a run has spent: seconds, and seconds that CPU cores have worked for it."""

import multiprocessing
import time

import numpy as np
import pytest
import torch

from palaestra.training.run import clocks
from palaestra.training.run.clocks import Clock, Meter, MetricsLog, cpu_seconds
from palaestra.training.settings.usage import UsageError


def work(seconds, done=None, end=None):
    """Keep a core busy for so many CPU seconds, say so, and wait for the end."""
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass
    if done is not None:
        done.set()
        end.wait()


def test_work_is_counted_and_waiting_is_not():
    before = cpu_seconds()
    time.sleep(0.3)
    waited = cpu_seconds() - before
    work(0.3)
    assert waited < 0.1
    assert cpu_seconds() - before - waited == pytest.approx(0.3, abs=0.1)


def test_workers_are_counted_while_they_run_and_when_they_have_ended():
    context = multiprocessing.get_context("spawn")
    done, end = context.Event(), context.Event()
    before = cpu_seconds()
    worker = context.Process(target=work, args=(0.5, done, end))
    worker.start()
    assert done.wait(60)
    running = cpu_seconds() - before
    end.set()
    worker.join()
    ended = cpu_seconds() - before
    assert running >= 0.45  # and what starting Python took
    assert ended >= running - 0.05


def test_sessions_add_up(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(clocks, "cpu_seconds", lambda: now[0])
    first = Clock(_cpu_started=10.0)
    now[0] = 13.0
    assert first.total_cpu == 3.0
    now[0] = 100.0  # another process
    second = Clock(_cpu_started=90.0)
    second.load_state_dict({"step": 5, "seconds": 1.0, "cpu": 3.0})
    now[0] = 102.0
    assert second.total_cpu == 5.0
    assert second.state_dict()["cpu"] == 5.0


def test_a_run_of_a_group_has_its_share(monkeypatch):
    monkeypatch.setattr(clocks, "cpu_seconds", lambda: 18.0)
    assert Clock(cpu_share=1 / 4, _cpu_started=10.0).total_cpu == 2.0


def test_a_share_may_change(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(clocks, "cpu_seconds", lambda: now[0])
    clock = Clock(cpu_share=1 / 2, _cpu_started=10.0)
    now[0] = 14.0
    clock.share_cpu(1.0)
    now[0] = 17.0
    assert clock.total_cpu == 4.0 / 2 + 3.0


def test_what_one_process_of_several_does_alone_is_counted_once(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(clocks, "cpu_seconds", lambda: now[0])
    clock = Clock(cpu_share=2, _cpu_started=10.0)
    now[0] = 13.0
    clock.count_once(1.0)
    # Two seconds of both, and one of this process.
    assert clock.total_cpu == clock.state_dict()["cpu"] == 5.0


class Rows:
    """Keeps rows of metrics."""

    def __init__(self):
        self.rows = []

    def log(self, metrics, step):
        self.rows.append(metrics)


def test_a_run_that_did_not_count_from_its_start_has_no_row_of_it():
    clock, tracker = Clock(), Rows()
    clock.load_state_dict({"step": 5, "seconds": 1.0})  # of a version before
    MetricsLog(tracker, clock, Meter()).write()
    assert "time/total" in tracker.rows[0]
    assert "time/cpu" not in tracker.rows[0]
    assert clock.state_dict()["cpu"] is None


def test_sums_of_another_device_have_64_bits():
    """0.1 as a sum of 32 bits: its mean is 0.101 after a million reports, and falls from there."""
    meter = Meter()
    for _ in range(2):
        meter.add({"loss": torch.zeros((), device="meta"), "own": np.float32(0.1)})
    assert meter.sums["loss"].dtype == torch.float64 and type(meter.sums["own"]) is float


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({"step": 1e6}, "'step' is reported by what learns; that name is taken"),
        ({"loss": 1.0, "episode/return": 1e6}, "'episode/return' is reported by what learns"),
        ({"loss": None}, "'loss' that is reported by what learns is no number but NoneType"),
        ({"loss": "low"}, "no number but str"),
        ({"loss": torch.zeros(2)}, r"no number but Tensor\(2,\)"),
    ],
)
def test_what_learns_reports_numbers_under_names_of_its_own(metrics, told):
    with pytest.raises(UsageError, match=told):
        Meter().add(metrics)


@pytest.mark.parametrize("number", [1, 1.0, np.float32(1), np.ones(()), torch.ones(()), torch.ones(1)])
def test_numbers_of_all_kinds_are_reported(number):
    meter = Meter()
    meter.add({"loss": number, "steps": number})
    assert meter.read() == {"loss": 1.0, "steps": 1.0}
