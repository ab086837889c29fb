"""What may happen to a run's folder: made half, removed, a disk that is full."""

import errno
import os

import pytest

from palaestra.training.run.storage import lock
from palaestra.training.run.storage.folder import check_new, check_still_there, new_folder, write_errors
from palaestra.training.settings.usage import RunFailedError, UsageError


def test_a_folder_that_was_only_half_made_is_begun_again(tmp_path):
    folder = tmp_path / "run"
    (folder / "world_model").mkdir(parents=True)
    for name in (".lock", "config.yaml.tmp", "cycle.yaml", "world_model/world_model.yaml"):
        (folder / name).touch()
    with new_folder(folder):
        assert [path.name for path in folder.iterdir()] == [".lock"]
        with pytest.raises(UsageError, match="another process"), new_folder(folder):
            pass
    (folder / "config.yaml").touch()
    with pytest.raises(UsageError, match="go on with --resume"):
        check_new(folder)


def test_a_folder_that_is_gone_ends_the_run(tmp_path):
    (tmp_path / "config.yaml").touch()
    check_still_there(tmp_path, "config.yaml")
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(RunFailedError, match="removed or moved"):
        check_still_there(tmp_path, "config.yaml")


def test_a_full_disk_is_one_line():
    with pytest.raises(RunFailedError, match=r"No space left.*make room, then go on"), write_errors("go on"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_file_systems_without_locks_are_worked_in_with_a_warning(tmp_path, monkeypatch, capsys):
    def no_locks(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with lock.locked(tmp_path), lock.only_mine(tmp_path) as mine:
        assert mine
    assert "a file system without locks: nothing keeps a second process out" in capsys.readouterr().err
