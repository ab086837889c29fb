#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: saving the same tensors with the same metadata gives the same
# bytes, so that a file's hash tells whether a model changed.
#
# Behaviour: the order of the metadata in the header changes from save to save,
# within one process. Ten saves of eight entries are ten files; without metadata, or
# with one entry, they are one.
#
# Seen:
#   ten saves, 0 entries of metadata: 1 different files
#   ten saves, 1 entries of metadata: 1 different files
#   ten saves, 8 entries of metadata: 10 different files
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib

import numpy as np
from safetensors.numpy import load, save

tensors = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
different = {}
for entries in (0, 1, 8):
    metadata = {f"key{number}": str(number) for number in range(entries)} or None
    files = [save(tensors, metadata=metadata) for _ in range(10)]
    assert all(np.array_equal(load(file)["weight"], tensors["weight"]) for file in files)
    different[entries] = len({hashlib.sha256(file).hexdigest() for file in files})
    print(f"ten saves, {entries} entries of metadata: {different[entries]} different files")

assert different[0] == different[1] == 1
assert different[8] > 1
PYTHON
