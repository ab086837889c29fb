#!/usr/bin/env bash
# torch 2.13.0 (CPU, gloo) with numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: all_reduce with MAX treats NaN in one way, as torch.maximum
# does (NaN wins), wherever it stands and whichever rank has it.
#
# Behaviour: NaN wins if it comes from the one rank and loses if it comes from the
# other, and in a longer tensor this changes from the first half to the second (each
# rank reduces a part). A NaN gradient norm or loss that is looked for by a MAX over
# ranks is found or not by chance of place. SUM keeps every NaN.
#
# Seen (100 elements, all NaN on one of two ranks, 1.0 on the other):
#   MAX of 1 element,    NaN on rank 0: nan
#   MAX of 1 element,    NaN on rank 1: 1.0
#   MAX of 100 elements, NaN on rank 0: 50 NaN, from element 0
#   MAX of 100 elements, NaN on rank 1: 50 NaN, from element 50
#   SUM of 100 elements: 100 and 100 NaN
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os
from datetime import timedelta

import torch
import torch.distributed as dist

path = os.path.join(os.getcwd(), "store")
child = os.fork()
rank = int(child == 0)
dist.init_process_group(
    "gloo", init_method=f"file://{path}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
)


def reduced(operation, length, nan_rank):
    tensor = torch.full((length,), float("nan") if rank == nan_rank else 1.0)
    dist.all_reduce(tensor, op=operation)
    return tensor


maximum, total = dist.ReduceOp.MAX, dist.ReduceOp.SUM
one = [reduced(maximum, 1, nan_rank).item() for nan_rank in (0, 1)]
places = [reduced(maximum, 100, nan_rank).isnan().nonzero().flatten().tolist() for nan_rank in (0, 1)]
sums = [int(reduced(total, 100, nan_rank).isnan().sum()) for nan_rank in (0, 1)]
dist.destroy_process_group()
if rank == 1:
    os._exit(0)
os.waitpid(child, 0)

for nan_rank in (0, 1):
    print(f"MAX of 1 element,    NaN on rank {nan_rank}: {one[nan_rank]}")
for nan_rank in (0, 1):
    found = places[nan_rank]
    print(f"MAX of 100 elements, NaN on rank {nan_rank}: {len(found)} NaN, from element {found[0]}")
print(f"SUM of 100 elements: {sums[0]} and {sums[1]} NaN")

assert one[0] != one[0] and one[1] == 1.0
assert places == [list(range(50)), list(range(50, 100))]
assert sums == [100, 100]
PYTHON
