"""What the processes of one run say to each other: by torch.distributed, and on one machine through its memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from ..settings.ranks import Rank
from ..settings.usage import RunFailedError
from .neighbours import Neighbours, meet_neighbours

# The others wait for as long while rank 0 evaluates. One that has ended is noticed at once, by its closed connection.
TIMEOUT = timedelta(hours=1)
SAID = "palaestra/said"
# Larger sums, in bytes of all processes, go by gloo on one machine too: there each process adds up a part only.
MOST_IN_MEMORY = 2**25


class Team:
    """All processes of a run. Each must make the same calls in the same order; what they send is never on a disk."""

    def __init__(self, place: Rank):
        self.place = place
        self.rank, self.size = place.rank, place.size
        self.run_dir: Path | None = None
        with self._talking():
            self.store, *_ = next(rendezvous("env://", timeout=TIMEOUT))
            dist.init_process_group(
                "gloo", store=self.store, rank=self.rank, world_size=self.size, timeout=TIMEOUT
            )
        self.gradients: Any = None
        self.neighbours: Neighbours | None = None
        if place.local_size == self.size:
            seconds = TIMEOUT.total_seconds()
            self.neighbours = meet_neighbours(self.rank, self.size, self.gather, seconds)

    def use(self, device: str) -> None:
        """Add tensors up where they are: by nccl where each process of a machine has a GPU of its own."""
        if device != "cuda":
            return
        count = torch.cuda.device_count()
        torch.cuda.set_device(self.place.local_rank % count)
        enough = self.gather(count >= self.place.local_size)
        if all(enough):
            with self._talking():
                self.gradients = dist.new_group(backend="nccl", timeout=TIMEOUT)

    def add_up(self, vector: Tensor) -> None:
        """Replace a contiguous vector by its sum over all processes, bit for bit the same in each."""
        with self._talking():
            small = vector.is_cpu and vector.nbytes * self.size <= MOST_IN_MEMORY
            if self.neighbours is not None and small:
                self.neighbours.add_up(vector.numpy())
            else:
                dist.all_reduce(vector, group=self.gradients)

    def gather(self, value: Any) -> list[Any]:
        """What each process has given, in their order."""
        values: list[Any] = [None] * self.size
        with self._talking():
            if self.neighbours is not None:
                return [
                    pickle.loads(each) for each in self.neighbours.gather(pickle.dumps(value, protocol=5))
                ]
            dist.all_gather_object(values, value)
        return values

    def hand_out(self, value: Any = None) -> Any:
        """What rank 0 has given."""
        box = [value]
        with self._talking():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait for all others to come here."""
        with self._talking():
            dist.barrier()

    def is_first_to_say(self) -> bool:
        """Whether no other process has told the user yet why all of them end."""
        try:
            return int(self.store.add(SAID, 1)) == 1
        except RuntimeError:  # the machine that keeps it is gone
            return True

    def rows(self, num_envs: int) -> slice:
        """Which of all copies this process steps."""
        share = num_envs // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def close(self) -> None:
        """Leave in order."""
        if self.neighbours is not None:
            self.neighbours.close()
        dist.destroy_process_group()

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn what a broken connection raises into one line.

        Raises:
            RunFailedError: a process has ended, or has not answered for so long.
        """
        try:
            yield
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            go_on = ""
            if self.run_dir is not None:
                go_on = (
                    f"; what was saved before is whole; go on with: torchrun ... -m palaestra train --resume "
                    f"{self.run_dir}"
                )
            raise RunFailedError(
                f"rank {self.rank} of {self.size} has lost another one: its process has ended, or has not answered "
                f"for {TIMEOUT.total_seconds() / 60:.0f} minutes{go_on}"
            ) from error
