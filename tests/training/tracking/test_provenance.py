"""The sessions of a run, as far as they can be read."""

import json

from palaestra.training.tracking.provenance import (
    SESSIONS_FILE,
    changed_versions,
    commit,
    last_session,
    record_session,
    versions,
)


def test_sessions_that_cannot_be_read_are_passed_over(tmp_path):
    record_session(tmp_path, 0, device="cpu", threads=2)
    with (tmp_path / SESSIONS_FILE).open("ab") as file:
        file.write(b'\x90\xe9 noise\n{"cut')
    assert last_session(tmp_path) == {"device": "cpu", "threads": 2}


def test_a_folder_without_sessions_says_nothing(tmp_path):
    assert last_session(tmp_path) == {}
    (tmp_path / SESSIONS_FILE).mkdir()
    assert last_session(tmp_path) == {}


def test_packages_that_are_not_what_they_were(tmp_path):
    assert changed_versions(tmp_path) == []
    record_session(tmp_path, 0, device="cpu", threads=1)
    assert changed_versions(tmp_path) == []
    session = json.loads((tmp_path / SESSIONS_FILE).read_text())
    session["versions"]["torch"] = "1.0"
    (tmp_path / SESSIONS_FILE).write_text(json.dumps(session) + "\n")
    assert changed_versions(tmp_path) == [f"torch {versions()['torch']} after 1.0"]


def test_where_there_is_no_git_the_commit_is_not_known(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit() is None
