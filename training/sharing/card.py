"""The model card of a shared run, with its results where a model hub looks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from ..imagination.dyna_options import CycleConfig, cycle_words
from ..settings.config import CONFIG_FILE, RunConfig, to_dict
from ..settings.trust import command_for, needs_trust


@dataclass(frozen=True)
class Card:
    """What a model card says."""

    config: RunConfig
    cycle: CycleConfig | None
    """Rounds of real and dreamt steps, where it was trained in some."""
    step: int
    """Steps of training, dreamt ones included."""
    summary: dict[str, float]
    """Of the evaluation, see `Evaluation.summary`."""
    seed: int
    """Of the evaluation's episodes."""
    film: str | None
    """File name of a film."""
    policy: str | None
    """File name of the exported policy."""
    versions: dict[str, str]


def model_card(card: Card) -> str:
    """Markdown, with the hub's metadata in front (huggingface.co/docs/hub/model-cards, `model-index`)."""
    config, summary = card.config, card.summary
    title = f"{config.agent} on {config.env}"
    lines = [
        "---",
        yaml.safe_dump(metadata(card), sort_keys=False).rstrip(),
        "---",
        "",
        f"# {title}",
        "",
        f"A policy for [Gymnasium](https://gymnasium.farama.org)'s `{config.env}`, trained by Palaestra for "
        f"{steps_of(card)}.",
        "",
        "| | |",
        "|---|---|",
        f"| return | {summary['return_mean']:.2f} +- {summary['return_std']:.2f} |",
        f"| interquartile mean | {summary['return_iqm']:.2f} |",
        f"| least and most | {summary['return_min']:.2f} to {summary['return_max']:.2f} |",
        f"| episodes | {summary['episodes']:,}, best actions, seed {card.seed} |",
        f"| length of an episode | {summary['length_mean']:,.1f} steps |",
        "",
        "![learning curve](learning_curve.png)",
        "",
    ]
    if card.film is not None:
        lines += [f"[A film of an episode]({card.film})", ""]
    lines += ["## Use it", "", "```", "pip install palaestra"]
    values = to_dict(config)
    play = command_for(values, "evaluate", "FOLDER", "--episodes", summary["episodes"], "--seed", card.seed)
    trust = ", trust=True" if needs_trust(values) else ""
    lines += [play, command_for(values, "watch", "FOLDER"), "```", ""]
    lines += ["```python", "import palaestra", "", f'policy = palaestra.load_policy("FOLDER"{trust})']
    lines += ["action, state = policy.predict(obs)", "```", ""]
    if card.policy is not None:
        lines += [
            f"Without Palaestra and PyTorch: `{card.policy}`, whose inputs and outputs `policy.json` names.",
            "",
        ]
    lines += ["## How it was made", "", "```", train_command(card), "```", ""]
    lines += ["| package | version |", "|---|---|"]
    lines += [f"| {name} | {number} |" for name, number in card.versions.items()]
    return "\n".join(lines) + "\n"


def metadata(card: Card) -> dict[str, Any]:
    """What the hub reads: tags, and the result as a `model-index`."""
    config, summary = card.config, card.summary
    metric = {
        "type": "mean_reward",
        "name": "mean_reward",
        "value": f"{summary['return_mean']:.2f} +/- {summary['return_std']:.2f}",
        "verified": False,
    }
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"type": config.env, "name": config.env},
        "metrics": [metric],
    }
    return {
        "library_name": "palaestra",
        "pipeline_tag": "reinforcement-learning",
        "tags": [config.env, config.agent, "reinforcement-learning", "deep-reinforcement-learning"],
        "model-index": [{"name": config.agent, "results": [result]}],
    }


def steps_of(card: Card) -> str:
    """How many steps it was trained for, and of which world."""
    if card.cycle is not None:
        real = f"{card.cycle.real_steps:,} real"
        if card.cycle.learn_from_real:
            return f"{card.step:,} steps, {real} ones and the others in dreams of a world model"
        return f"{card.step:,} steps in dreams of a world model that knew {real} ones"
    if card.config.dream.model is not None:
        return f"{card.step:,} steps in dreams of a world model"
    return f"{card.step:,} environment steps"


def train_command(card: Card) -> str:
    """The command that trains the run again, from the config that lies beside the card."""
    config = card.config
    if card.cycle is not None:
        words = cycle_words(card.cycle, config.env, config.agent)
    elif config.dream.model is not None:
        words = ["world-model", "dream", "WORLD_MODEL", "--agent", config.agent]
    else:
        words = ["train", config.agent, "--env", config.env]
    return command_for(to_dict(config), *words, "--config", CONFIG_FILE)
