"""Signals: before there is anything to be saved, one within another, and a second one."""

import signal

import pytest

from palaestra.training.cli import main
from palaestra.training.run import signals
from palaestra.training.run.signals import STOPPING, StoppedError, caught_signals, stopping_signals


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_while_nothing_can_be_saved_yet_ends_the_command_in_order(number, monkeypatch, capsys):
    before = signal.getsignal(number)
    monkeypatch.setattr(main, "_dispatch", lambda command, words: signal.raise_signal(number))
    assert main.run(["train", "ppo", "--env", "CartPole-v1"]) == 128 + number
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(number) is before


def test_a_second_signal_is_left_to_what_was_there_before_all_of_ours(monkeypatch):
    monkeypatch.setattr(signals, "SAME_WISH", 0.0)
    reached = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: reached.append(number))
    try:
        with stopping_signals():
            stopping = signal.getsignal(signal.SIGTERM)
            with caught_signals() as caught:
                signal.raise_signal(signal.SIGTERM)
                assert caught == [signal.SIGTERM] and not reached
                signal.raise_signal(signal.SIGTERM)
                assert reached == [signal.SIGTERM]
            assert signal.getsignal(signal.SIGTERM) is stopping
            with pytest.raises(StoppedError) as stop:
                signal.raise_signal(signal.SIGTERM)
            assert stop.value.number == signal.SIGTERM
            signal.raise_signal(signal.SIGTERM)
            assert reached == [signal.SIGTERM, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_comes_twice_within_a_second_is_one_wish():
    """Wrappers pass on what the whole group has had already; the checkpoint is being written then."""
    with caught_signals() as caught:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert caught == [signal.SIGTERM]


def test_signals_for_users_are_left_to_who_uses_them():
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        own = signal.getsignal(signal.SIGUSR1)
        with stopping_signals(), caught_signals():
            assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)
    with stopping_signals(), caught_signals() as caught:
        signal.raise_signal(signal.SIGUSR1)
        assert caught == [signal.SIGUSR1]


def test_what_stops_a_command_is_no_failure_of_an_environment():
    """As Ctrl-C, it goes through whatever catches all that an environment may raise."""
    assert issubclass(StoppedError, KeyboardInterrupt)
