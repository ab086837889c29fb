"""Gymnasium's classic control tasks with less to see: without velocities, or as pictures.

| `palaestra/...-v0` | observations | steps | what it takes |
|---|---|---|---|
| CartPoleNoVel | cart's position, pole's angle | 500 | two steps of memory; best return 500 |
| PendulumNoVel | cosine and sine of the angle | 200 | the same; about -150 |
| MountainCarContinuousNoVel | position | 999 | the same; about 93 |
| CartPolePixels | picture, `size=64` | 500 | eyes, and two pictures (`--frame-stack 2`) or a memory; best 500 |
| PendulumPixels | picture, `size=64` | 200 | the same; about -150 |

CartPolePixels also takes `half_pole=0.5` and `inverted=False`, variants to transfer to.

Dynamics, rewards and starts are those of Gymnasium (which documents their sources), computed for many copies at once;
the tests compare step by step. A random policy returns about 22, -1200 and -33.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .raster import draw_line
from .task import Outcome, Task, at_least, register_task

SIZE = 64


def image_space(size: int) -> spaces.Box:
    """Space of grey pictures `[size, size, 1]`."""
    return spaces.Box(0, 255, (size, size, 1), np.uint8)


class CartPole(Task):
    """Balance a pole on a cart; world: position, velocity, angle, angular velocity. Actions: 0 left, 1 right.

    Reward 1 a step, the last one included. Terminated where the cart is further than 2.4 from the middle or the pole
    has leaned over by more than 12 degrees.
    """

    frames_per_second = 50
    TRACK = 2.4
    MAX_ANGLE = np.deg2rad(12)
    half_pole: float = 0.5

    @property
    def action_space(self) -> spaces.Discrete:
        """Push to the left or to the right."""
        return spaces.Discrete(2)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """Near the middle and upright."""
        return generator.uniform(-0.05, 0.05, 4)

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Euler's method; 10 N, a cart of 1 kg, a pole of 0.1 kg and 1 m (twice `half_pole`), 0.02 s."""
        _, x_dot, theta, theta_dot = worlds.T.copy()
        sine, cosine = np.sin(theta), np.cos(theta)
        length = self.half_pole
        moment = 0.1 * length
        push = (np.where(action == 1, 10.0, -10.0) + moment * theta_dot**2 * sine) / 1.1
        theta_acceleration = (9.8 * sine - cosine * push) / (length * (4 / 3 - 0.1 * cosine**2 / 1.1))
        x_acceleration = push - moment * theta_acceleration * cosine / 1.1
        worlds += 0.02 * np.stack([x_dot, x_acceleration, theta_dot, theta_acceleration], axis=-1)
        terminated = (np.abs(worlds[:, 0]) > self.TRACK) | (np.abs(worlds[:, 2]) > self.MAX_ANGLE)
        return Outcome(np.ones(len(worlds)), terminated, np.zeros_like(terminated))

    def picture(self, worlds: np.ndarray) -> np.ndarray:
        """Cart and pole."""
        return draw_cartpole(worlds, SIZE)


@dataclass(frozen=True)
class CartPoleNoVel(CartPole):
    """CartPole-v1 without velocities: observations `[2]`, position (m) and angle (rad)."""

    @property
    def observation_space(self) -> spaces.Box:
        """Twice the range in which the episode goes on, as in Gymnasium."""
        high = np.array([2 * self.TRACK, 2 * self.MAX_ANGLE], np.float32)
        return spaces.Box(-high, high)

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Position and angle."""
        return worlds[:, [0, 2]].astype(np.float32)


@dataclass(frozen=True)
class CartPolePixels(CartPole):
    """CartPole-v1 as pictures `[size, size, 1]` uint8."""

    size: int = SIZE
    """Side of the picture in pixels."""
    half_pole: float = 0.5
    """Half the pole's length in metres; it is drawn and falls accordingly."""
    inverted: bool = False
    """Dark on a light ground."""

    def __post_init__(self) -> None:
        at_least(size=(self.size, 16))
        if not self.half_pole > 0:
            raise ValueError(f"half_pole must be above 0, got {self.half_pole}")

    @property
    def observation_space(self) -> spaces.Box:
        """Grey pictures."""
        return image_space(self.size)

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Cart and pole."""
        pictures = draw_cartpole(worlds, self.size, self.half_pole)[..., None]
        return 255 - pictures if self.inverted else pictures


class Pendulum(Task):
    """Swing a pendulum up and hold it; world: angle (0 is up), angular velocity. Actions: torque in [-2, 2].

    Reward `-(angle^2 + velocity^2 / 10 + torque^2 / 1000)` a step; nothing terminates.
    """

    frames_per_second = 30

    @property
    def action_space(self) -> spaces.Box:
        """Torque."""
        return spaces.Box(-2, 2, (1,), np.float32)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """Anywhere, at up to 1 rad/s."""
        return generator.uniform([-np.pi, -1], [np.pi, 1])

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Euler's method, the new velocity first; 10 m/s^2, a rod of 1 kg and 1 m, 0.05 s."""
        theta, velocity = worlds.T
        torque = np.clip(action[:, 0].astype(np.float64), -2, 2)
        angle = (theta + np.pi) % (2 * np.pi) - np.pi
        reward = -(angle**2 + 0.1 * velocity**2 + 0.001 * torque**2)
        velocity[:] = np.clip(velocity + (15 * np.sin(theta) + 3 * torque) * 0.05, -8, 8)
        theta += velocity * 0.05
        never = np.zeros(len(worlds), bool)
        return Outcome(reward, never, never.copy())

    def state(self, worlds: np.ndarray) -> np.ndarray:
        """Cosine and sine of the angle, velocity: no two numbers for one position."""
        return np.stack([np.cos(worlds[:, 0]), np.sin(worlds[:, 0]), worlds[:, 1]], axis=-1)

    def picture(self, worlds: np.ndarray) -> np.ndarray:
        """The rod."""
        return draw_pendulum(worlds, SIZE)


@dataclass(frozen=True)
class PendulumNoVel(Pendulum):
    """Pendulum-v1 without velocity: observations `[2]`, cosine and sine of the angle."""

    @property
    def observation_space(self) -> spaces.Box:
        """Cosine and sine."""
        return spaces.Box(-1, 1, (2,), np.float32)

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Cosine and sine."""
        return np.stack([np.cos(worlds[:, 0]), np.sin(worlds[:, 0])], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class PendulumPixels(Pendulum):
    """Pendulum-v1 as pictures `[size, size, 1]` uint8."""

    size: int = SIZE
    """Side of the picture in pixels."""

    def __post_init__(self) -> None:
        at_least(size=(self.size, 16))

    @property
    def observation_space(self) -> spaces.Box:
        """Grey pictures."""
        return image_space(self.size)

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """The rod."""
        return draw_pendulum(worlds, self.size)[..., None]


@dataclass(frozen=True)
class MountainCarContinuousNoVel(Task):
    """MountainCarContinuous-v0 without velocity: observations `[1]`, the position.

    Actions: force in [-1, 1]. Reward `-force^2 / 10` a step and 100 at the top, where the episode terminates. World:
    position, velocity.
    """

    frames_per_second = 30

    @property
    def observation_space(self) -> spaces.Box:
        """Position."""
        return spaces.Box(-1.2, 0.6, (1,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        """Force."""
        return spaces.Box(-1, 1, (1,), np.float32)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """At the bottom of the valley, at rest."""
        return np.array([generator.uniform(-0.6, -0.4), 0.0])

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Position; rounding must not leave the space."""
        return np.clip(worlds[:, :1].astype(np.float32), np.float32(-1.2), np.float32(0.6))

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """The new velocity first; the wall on the left stops the car."""
        position, velocity = worlds.T
        force = np.clip(action[:, 0].astype(np.float64), -1, 1)
        velocity[:] = np.clip(velocity + 0.0015 * force - 0.0025 * np.cos(3 * position), -0.07, 0.07)
        position[:] = np.clip(position + velocity, -1.2, 0.6)
        velocity[(position == -1.2) & (velocity < 0)] = 0.0
        terminated = (position >= 0.45) & (velocity >= 0)
        return Outcome(100.0 * terminated - 0.1 * force**2, terminated, np.zeros_like(terminated))

    def picture(self, worlds: np.ndarray) -> np.ndarray:
        """The hill and the car."""
        return draw_hill(worlds[:, 0], SIZE)


def draw_cartpole(worlds: np.ndarray, size: int, half_pole: float = 0.5) -> np.ndarray:
    """Grey pictures `[B, size, size]` uint8: the cart grey, the pole white. The whole track is in sight."""
    pictures = np.zeros((len(worlds), size, size), np.float32)
    unit = size / 64
    cart = np.stack([_place(worlds[:, 0] / 2.6, size), np.full(len(worlds), 52 * unit)], axis=-1)
    half = np.array([4 * unit, 0])
    draw_line(pictures, cart - half, cart + half, 2 * unit, brightness=0.5)
    tip = cart + 80 * half_pole * unit * np.stack([np.sin(worlds[:, 2]), -np.cos(worlds[:, 2])], axis=-1)
    draw_line(pictures, cart, tip, 1.25 * unit)
    return _bytes(pictures)


def draw_pendulum(worlds: np.ndarray, size: int) -> np.ndarray:
    """Grey pictures `[B, size, size]` uint8 of the rod; up is up, and positive angles lean to the left."""
    pictures = np.zeros((len(worlds), size, size), np.float32)
    middle = np.full((len(worlds), 2), (size - 1) / 2)
    direction = np.stack([-np.sin(worlds[:, 0]), -np.cos(worlds[:, 0])], axis=-1)
    draw_line(pictures, middle, middle + 26 / 64 * size * direction, 2.5 * size / 64)
    return _bytes(pictures)


def draw_hill(position: np.ndarray, size: int) -> np.ndarray:
    """Grey pictures `[B, size, size]` uint8 of a car at `position [B]` on the hill `sin(3 x)`."""
    pictures = np.zeros((len(position), size, size), np.float32)

    def point(x: np.ndarray) -> np.ndarray:
        return np.stack([_place((x + 0.3) / 0.9, size), size * (0.5 - 0.3 * np.sin(3 * x))], axis=-1)

    along = np.linspace(-1.2, 0.6, 24)
    for left, right in zip(point(along)[:-1], point(along)[1:], strict=True):
        draw_line(pictures, left[None], right[None], 0.5, brightness=0.4)
    car = point(position) - [0, 2]
    draw_line(pictures, car, car, 2.5 * size / 64)
    return _bytes(pictures)


def _place(fraction: np.ndarray, size: int) -> np.ndarray:
    """Pixel column of -1 (left edge) to 1 (right edge)."""
    return (fraction + 1) / 2 * (size - 1)


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.rint(pictures * 255).astype(np.uint8)


def register_classic() -> None:
    """Make them known to Gymnasium, with the time limits of the originals."""
    register_task("palaestra/CartPoleNoVel-v0", CartPoleNoVel, max_episode_steps=500)
    register_task("palaestra/PendulumNoVel-v0", PendulumNoVel, max_episode_steps=200)
    register_task(
        "palaestra/MountainCarContinuousNoVel-v0", MountainCarContinuousNoVel, max_episode_steps=999
    )
    register_task("palaestra/CartPolePixels-v0", CartPolePixels, max_episode_steps=500)
    register_task("palaestra/PendulumPixels-v0", PendulumPixels, max_episode_steps=200)
