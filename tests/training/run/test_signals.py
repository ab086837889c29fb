"""Signals: before there is anything to be saved, one within another, and a second one."""

import signal

import pytest

from palaestra.training.cli import main
from palaestra.training.run.signals import StoppedError, caught_signals, stopping_signals


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_while_nothing_can_be_saved_yet_ends_the_command_in_order(number, monkeypatch, capsys):
    before = signal.getsignal(number)
    monkeypatch.setattr(main, "_dispatch", lambda command, words: signal.raise_signal(number))
    assert main.run(["train", "ppo", "--env", "CartPole-v1"]) == 128 + number
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(number) is before


def test_a_second_signal_is_left_to_what_was_there_before_all_of_ours():
    outermost = signal.getsignal(signal.SIGTERM)
    with stopping_signals():
        stopping = signal.getsignal(signal.SIGTERM)
        with caught_signals() as caught:
            signal.raise_signal(signal.SIGTERM)
            assert caught == [signal.SIGTERM]
            assert signal.getsignal(signal.SIGTERM) is outermost
        assert signal.getsignal(signal.SIGTERM) is stopping
        with pytest.raises(StoppedError) as stop:
            signal.raise_signal(signal.SIGTERM)
        assert stop.value.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is outermost
    assert signal.getsignal(signal.SIGTERM) is outermost


def test_what_stops_a_command_is_no_failure_of_an_environment():
    """As Ctrl-C, it goes through whatever catches all that an environment may raise."""
    assert issubclass(StoppedError, KeyboardInterrupt)
