"""Starts the processes of one run for tests, without torchrun: `python processes.py JOBS` is one of them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def begin(jobs, ranks):
    """Start processes that train `jobs` one after the other: `[words, folder, steps to go on to or None]`.

    Gradients of all steps are shared, however small, but for jobs with `--notes whole`; they go through memory, but
    for jobs with `--notes gloo`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(jobs)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def end(processes, seconds=120):
    """Wait for all; returns what each has written to stderr."""
    try:
        said = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


def main():
    from palaestra.training.parallel import gradients
    from palaestra.training.parallel.start import resume_ranked, start_ranked
    from palaestra.training.parallel.team import Team
    from palaestra.training.run.start import start_run
    from palaestra.training.settings.ranks import this_rank
    from palaestra.training.settings.train_options import read_train_options

    place, usual = this_rank(), (gradients.SHARED_FROM, gradients.SHARED_FROM_BY_GLOO)
    team = Team(place) if place.size > 1 else None
    neighbours = team.neighbours if team is not None else None
    assert team is None or neighbours is not None
    for words, folder, steps in json.loads(sys.argv[1]):
        shared_from = usual if "--notes whole" in words else (0, 0)
        gradients.SHARED_FROM, gradients.SHARED_FROM_BY_GLOO = shared_from
        if team is not None:
            team.neighbours = None if "--notes gloo" in words else neighbours
        before = time.process_time()
        if steps is not None:
            resume_ranked(team, Path(folder), steps)
        else:
            agent, *options = words.split()
            config = read_train_options(agent, options)[0]
            start_run(config, Path(folder)) if team is None else start_ranked(team, config, Path(folder))
        print(f"CPU seconds {time.process_time() - before:.2f}", file=sys.stderr)
    if team is not None:
        team.neighbours = neighbours
        team.close()


if __name__ == "__main__":
    main()
