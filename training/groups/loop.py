"""Training a group: the loop of `training/run/loop.py` with one step for all runs, and clocks for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ...agents.divergence import broken_part
from ...envs.actions import ActionError
from ...envs.together import EnvsTogether
from ...envs.vector import Episode
from ..run.collect import Collector
from ..settings.usage import RunFailedError
from ..tracking.progress import GroupProgress
from .member import Member
from .together import Together, num_steps


@dataclass
class Group:
    """Runs that are stepped together."""

    members: list[Member]
    agents: Together
    envs: EnvsTogether
    collector: Collector
    progress: GroupProgress
    finish: Callable[[Member], None]
    """Called for each run as it reaches its end."""

    def learn(self) -> None:
        """Step and learn until every run has its steps, or a signal is caught.

        A run that cannot go on leaves the group, and its rows are stepped without it. Checkpoints are written for all
        runs at once, those at the end of a run excepted.
        """
        signals = self.members[0].session.signals
        learning = [member.active for member in self.members]
        while any(learning) and not signals:
            try:
                transition, episodes = self.collector.step()
            except ActionError as error:
                raise self._at_fault().session.failed(f"it chose {error}", error) from error
            if lost := [index for index in self.agents.lost if learning[index]]:
                for index in lost:
                    member = self.members[index]
                    member.fail(member.session.failed(f"it chose {self.agents.lost[index]}"))
                self._leave(lost, learning)
            reports = self.agents.learn(transition, learning)
            before = [member.clock.step for member in self.members]
            steps = num_steps(transition, len(self.members))
            for member, report, count, wanted in zip(self.members, reports, steps, learning, strict=True):
                member.clock.group_step += 1
                if wanted:
                    member.clock.advance(count)
                    if report:
                        member.report(report)
            if episodes:
                self._share(episodes, learning)
            self.progress.update(sum(member.clock.step for member in self.members))
            self._look_at_clocks(before, learning)
        if signals:
            self.save(index for index, member in enumerate(self.members) if member.active)

    def _at_fault(self) -> Member:
        """The run whose agent has diverged, as far as that shows."""
        broken = (member for member in self.members if member.active and broken_part(member.learned))
        return next(broken, self.members[0])

    def _look_at_clocks(self, before: list[int], learning: list[bool]) -> None:
        """Rows of metrics, checkpoints and evaluations where they are due; runs that have ended learn no more."""
        pairs = [
            (member, step)
            for member, step, wanted in zip(self.members, before, learning, strict=True)
            if wanted and member.due(step)
        ]
        if not pairs:
            return
        for member, step in pairs:
            self._unless_it_fails(member, partial(member.log_if_due, step))
        paused = time.perf_counter()
        # The clock of one speaks for all: where resets take steps, clocks differ a little.
        first = next(member for member, wanted in zip(self.members, learning, strict=True) if wanted)
        if any(member is first and member.checkpoints.due(step) for member, step in pairs):
            self.save(index for index, wanted in enumerate(learning) if wanted)
        for member, step in pairs:
            self._unless_it_fails(member, partial(member.session.evaluate_if_due, member.agent, step))
        over = [index for index, member in enumerate(self.members) if learning[index] and not member.active]
        for index in over:
            self.save([index])
            self._unless_it_fails(self.members[index], partial(self.finish, self.members[index]))
        self._leave(over, learning)
        for member in self.members:
            member.log.leave_out(time.perf_counter() - paused)

    def _leave(self, over: list[int], learning: list[bool]) -> None:
        """Go on without some runs: the others share what the process works from now on."""
        for index in over:
            learning[index] = False
        for member, goes_on in zip(self.members, learning, strict=True) if over else ():
            member.clock.share_cpu(1 / sum(learning) if goes_on else 0.0)

    def save(self, which: Iterable[int]) -> None:
        """Write a checkpoint of some runs."""
        states, rows = self.envs.split(), self.agents.rows
        for index in which:
            member = self.members[index]
            member.place.state = {"envs": states[index], "memory": self.collector.state[rows[index]]}
            self._unless_it_fails(member, member.checkpoints.save)

    def _share(self, episodes: list[Episode], learning: list[bool]) -> None:
        """Give each run the episodes of its copies."""
        of_runs: dict[int, list[Episode]] = {}
        for episode in episodes:
            index, copy = divmod(episode.env_index, self.agents.rows[0].stop)
            if learning[index]:
                of_runs.setdefault(index, []).append(episode._replace(env_index=copy))
        for index, own in of_runs.items():
            self.members[index].meter.add_episodes(own)
            self.progress.add(index, [episode.episode_return for episode in own])

    @staticmethod
    def _unless_it_fails(member: Member, act: Callable[[], None]) -> None:
        """Do something for a run that has not failed; where that fails it leaves the group."""
        if member.error is not None:
            return
        try:
            act()
        except RunFailedError as error:
            member.fail(error)
