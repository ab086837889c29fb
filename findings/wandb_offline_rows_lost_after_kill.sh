#!/usr/bin/env bash
# wandb 0.31.0, Python 3.11
# Date: 2026-11-30
#
# A user would expect: an offline run's rows are on disk soon after `run.log` has returned. A process
# of wandb's own writes them, which is not the one that is killed, so that a program that dies long
# after its last row loses nothing.
#
# Behaviour: the file is written in buffered blocks. When the program is killed its last rows are not
# in the file, however long ago they were logged, and nothing says so. After `finish` all are there.
#
# Seen:
#   rows logged: 20, seconds before the kill: 10
#   rows in the file after SIGKILL: all of them: False
#   rows in the file after finish: all of them: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wandb==0.31.0
cd "$folder"
cat >run.py <<'PYTHON'
import os
import sys
import time

import wandb

run = wandb.init(project="rows", dir=sys.argv[1], mode="offline", settings=wandb.Settings(console="off", silent=True))
for step in range(20):
    run.log({"mark": f"row-{step:02d}", "return": float(step)})
time.sleep(10)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), 9)
run.finish()
PYTHON
mkdir killed finished
WANDB_ERROR_REPORTING=false venv/bin/python run.py killed kill || true
WANDB_ERROR_REPORTING=false venv/bin/python run.py finished finish
sleep 5
python3 - <<'PYTHON'
import re
from pathlib import Path


def rows(folder):
    """Distinct marks in the file, which is not compressed."""
    (path,) = Path(folder).glob("wandb/offline-run-*/*.wandb")
    return len(set(re.findall(rb"row-\d\d", path.read_bytes())))


killed, finished = rows("killed"), rows("finished")
print("rows logged: 20, seconds before the kill: 10")
print(f"rows in the file after SIGKILL: all of them: {killed == 20}")
print(f"rows in the file after finish: all of them: {finished == 20}")
assert killed < 20 and finished == 20, (killed, finished)
PYTHON
