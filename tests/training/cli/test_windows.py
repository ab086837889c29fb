"""What keeps the command line alive on systems that nothing is tested on: the gaps of Windows, in a process here."""

import ast
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from palaestra.training.comparison import processes
from palaestra.training.run.storage import lock

ROOT = Path(__file__).parents[3]
LIKE_WINDOWS = ROOT / "tests/fixtures/like_windows.py"


def test_a_run_is_trained_resumed_and_played_without_what_unix_alone_has(tmp_path):
    # A letter that files on Windows have no place for.
    run_dir = str(tmp_path / "läuft → gut")
    commands = [
        *(["train", "ppo", "--env", "CartPole-v1", "--steps", "1100", "--track", "none", "--out", run_dir],),
        ["train", "--resume", run_dir, "--steps", "2200"],
        ["evaluate", run_dir, "--episodes", "2", "--json"],
        ["runs", str(tmp_path)],
        ["train", "ppo", "--env", "CartPole-v1", "--steps", "1100", "--backend", "async"],
    ]
    ended = subprocess.run(
        [sys.executable, LIKE_WINDOWS, json.dumps(commands)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONWARNINGS": "ignore"},
        encoding="cp1252",
        capture_output=True,
        check=False,
    )
    assert "codes [0, 0, 0, 0, 2]" in ended.stdout, ended.stderr
    assert "läuft ? gut" in ended.stdout
    assert "backend async cannot be had on Windows; use sync" in ended.stderr


def test_a_folder_that_another_process_has_locked_on_windows_is_not_ours(monkeypatch, tmp_path):
    def locking(descriptor, mode, num_bytes):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(lock, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    with lock.only_mine(tmp_path) as mine:
        assert not mine


def test_a_command_that_is_to_stop_gets_the_signal_that_windows_can_send(monkeypatch):
    sent = []
    process = types.SimpleNamespace(send_signal=sent.append, terminate=lambda: sent.append("terminate"))
    processes.ask_to_stop(process)
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", "break", raising=False)
    processes.ask_to_stop(process)
    assert sent == ["terminate", "break"]


def test_a_worker_process_ends_with_its_parent_where_no_signal_says_so():
    """As on macOS: a thread that waits for the pipe."""
    reader, lifeline = os.pipe()
    code = (
        "import sys, time; sys.platform = 'darwin'; from palaestra.envs.backends.worker import die_with; "
        f"die_with({reader}); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], pass_fds=[reader], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n" and child.poll() is None
        os.close(lifeline)
        assert child.wait(10) == 1
    os.close(reader)


TEXT_FILES = ("read_text", "write_text", "open")


@pytest.mark.parametrize("folder", ["agents", "envs", "networks", "training", "world_models"])
def test_text_files_are_utf_8_wherever_they_are_written(folder):
    without = []
    for path in (ROOT / folder).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in TEXT_FILES
            ):
                words = ast.unparse(call)
                named = any(keyword.arg == "encoding" for keyword in call.keywords)
                if not named and "b'" not in words and not words.startswith(("os.open", "Image.open")):
                    without.append(f"{path.name}:{call.lineno}: {words}")
    assert not without
