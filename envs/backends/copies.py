"""Single environments, stepped one after the other in the process where they live."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ...networks.tree import read_row, row_writer, tree_leaves
from ..seeds import episode_seed
from .failure import Failure, failed, failure_of
from .returned import as_info, as_picture, first_of_two, five, flag, scalar_reward


class EnvCopies:
    """Copies `first, first + 1, ...` of one environment; `make(i)` makes copy `i`.

    Episode `k` of copy `i` is reset with `episode_seed(seed, i, k)`: with that seed and the actions since, a
    running episode is brought back by replaying it, which is exact for every environment that is
    deterministic under its seed.
    """

    def __init__(self, make: Callable[[int], gymnasium.Env], first: int, count: int, seed: int):
        self.make = make
        self.envs: list[gymnasium.Env] = []
        try:
            for row in range(count):
                self.envs.append(make(first + row))
        except BaseException:
            self.close()
            raise
        self.first = first
        self.seed = seed
        # Which episode each copy is in.
        self.episode = np.full(count, -1)
        self.write_obs = row_writer(self.envs[0].observation_space)

    def seed_of(self, row: int) -> int:
        """Seed of the running episode of a copy."""
        return episode_seed(self.seed, self.first + row, int(self.episode[row]))

    def begin(self, row: int, obs: Any) -> list[Failure]:
        """Begin the next episode of one copy and write its observation; returns a failure if there was one."""
        self.episode[row] += 1
        try:
            self.write_obs(obs, row, first_of_two(self.envs[row].reset(seed=self.seed_of(row))))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return [failure_of(self.first + row, error, in_reset=True, seed=self.seed_of(row))]
        return []

    def step(
        self, rows: Any, obs: Any, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray
    ) -> tuple[list[dict[str, Any]], list[Failure]]:
        """Step every copy with its row of actions and write into the arrays `[B, ...]`; returns infos and failures."""
        infos: list[dict[str, Any]] = []
        failures: list[Failure] = []
        write = self.write_obs
        for i, env in enumerate(self.envs):
            try:
                result = env.step(rows[i])
                known = type(result) is tuple and len(result) == 5
                row, value, over, cut, info = result if known else five(result)
                reward[i] = value if type(value) is float else scalar_reward(value)
                terminated[i] = over if type(over) is bool else flag(over, "terminated")
                truncated[i] = cut if type(cut) is bool else flag(cut, "truncated")
                write(obs, i, row)
                infos.append(info if type(info) is dict else as_info(info))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failures.append(failure_of(self.first + i, error))
                infos.append({})
                reward[i], terminated[i], truncated[i] = 0.0, False, False
        return infos, failures

    def replay(self, row: int, episode: int, actions: Any) -> tuple[Any, Any, bool, bool]:
        """Bring a copy back to where `actions [length, ...]` lead in one of its episodes.

        Returns:
            Observation, reward, terminated and truncated of the last step, or of the reset where there is none.
        """
        self.episode[row] = episode
        obs = first_of_two(self.envs[row].reset(seed=self.seed_of(row)))
        reward, terminated, truncated = 0.0, False, False
        for t in range(len(tree_leaves(actions)[0])):
            obs, reward, terminated, truncated, _ = five(self.envs[row].step(read_row(actions, t)))
        return obs, scalar_reward(reward), flag(terminated, "terminated"), flag(truncated, "truncated")

    def replace(self, row: int) -> None:
        """Make a copy anew; it has to be reset next."""
        self._close(row)
        self.envs[row] = self.make(self.first + row)

    def close(self) -> None:
        """Close every copy."""
        for row in range(len(self.envs)):
            self._close(row)

    def _close(self, row: int) -> None:
        close_env(self.envs[row])


def drawn(env: Any) -> Any:
    """What an environment draws; of a list of frames the last one."""
    frame = env.render()
    return frame[-1] if isinstance(frame, list) and frame else frame


def picture(env: Any) -> np.ndarray:
    """Draw an environment: uint8 `[height, width, 3]`.

    Raises:
        UnfitValueError: what it draws is no picture.
    """
    return as_picture(drawn(env))


def close_env(env: Any) -> None:
    """Close an environment that is needed no more; where that fails, warn once and go on."""
    try:
        env.close()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Without the index of a copy and from here, so that Python shows it once.
        warnings.warn(f"closing an environment {failed(error)}", RuntimeWarning, stacklevel=1)


def action_rows(action: Any, count: int) -> Any:
    """What indexes a batch of actions by copy."""
    return action if isinstance(action, np.ndarray) else [read_row(action, i) for i in range(count)]
