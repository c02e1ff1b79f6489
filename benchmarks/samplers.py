"""Which sampler finds the front of the reward weights with the fewest trials?

    python benchmarks/samplers.py [--bank FOLDER] [--direction D] [--seeds 20] [--plot FILE]

Trains what `dsa tune` trains for every share on a grid, once (about 35 s of one core a share; kept
in --table, an interrupted run goes on), and replays studies from that table: a trial whose share is
on the grid always gives the same result, so a replay is what the study itself would have found.
Prints, for each sampler, the hypervolume that its front dominates after so many trials, as a share
of what all shares of the grid together dominate: mean and standard deviation over sampler seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dsa_agents.plots import AGENT, COLOURS, SWEEP, save_plot
from dsa_agents.policies import ControllerPolicy
from dsa_agents.run_folder import TrainConfig
from dsa_agents.train import train
from dsa_env.files import read_json, write_json
from dsa_env.progress import track
from dsa_tuning.config import TuneConfig
from dsa_tuning.front import history, hypervolume, signs
from dsa_tuning.metrics import average, weight_free_metrics
from dsa_tuning.samplers import make_sampler
from dsa_tuning.space import make_space, weights_of
from dsa_tuning.trials import neutral_core, quiet_optuna

SAMPLERS = {"gp": AGENT, "tpe": COLOURS["full_information"], "random": COLOURS["random"]}
DIRECTIONS = ("maximize", "minimize")
SHOWN = (4, 6, 8, 10, 15, 20)


def main() -> None:
    """Make or read the table, replay, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bank", default="embedded")
    parser.add_argument("--direction", default="image_to_text")
    parser.add_argument("--shares", type=int, default=41, help="points of the grid")
    parser.add_argument("--timesteps", type=int, help="as in dsa tune")
    parser.add_argument("--table", type=Path, default=Path("benchmarks/samplers.json"))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=20, help="of each sampler")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    base = TrainConfig(
        options.bank, options.direction, timesteps=options.timesteps, seeds=(0, 1, 2)
    )
    config = TuneConfig(base=base).complete()
    shares = np.linspace(0, 1, options.shares).round(6).tolist()
    values = table(config, shares, options.table)
    reached = {
        sampler: np.array(
            [replay(sampler, seed, options.trials, values) for seed in range(options.seeds)]
        )
        for sampler in SAMPLERS
    }
    even = evenly(values, (5, 9, 17))
    print_table(reached, even)
    if options.plot:
        save_plot(lambda axes: draw(axes, reached, even), options.plot)


def table(config: TuneConfig, shares: list[float], path: Path) -> dict[float, tuple[float, float]]:
    """Recall@k and hallucination rate on validation of every share, trained where not there yet."""
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    if any(str(share) not in found for share in shares):
        cores = {split: neutral_core(config.base, split) for split in ("validation", "test")}
        for share in track(shares, "shares"):
            if str(share) in found:
                continue
            alpha, beta = weights_of(share)
            kwargs = {"alpha": alpha, "beta": beta}
            trained = TrainConfig(**{**config.base.to_json(), "reward_kwargs": kwargs})
            with tempfile.TemporaryDirectory() as folder:
                run = train(trained, Path(folder) / "run", progress=False)
                found[str(share)] = {
                    split: [
                        weight_free_metrics(core, ControllerPolicy(run.controller(seed)))
                        for seed in run.seeds
                    ]
                    for split, core in cores.items()
                }
            write_json(path, found)
    means = {share: average(found[str(share)]["validation"]) for share in shares}
    recall = f"recall@{config.base.k}"
    return {share: (m[recall], m["hallucination_rate"]) for share, m in means.items()}


def replay(
    sampler: str, seed: int, trials: int, values: dict[float, tuple[float, float]]
) -> NDArray[np.float64]:
    """The share of the attainable hypervolume after each trial of one study."""
    shares = sorted(values)
    step = shares[1] - shares[0]
    base = TuneConfig().base
    space = make_space({"weights": {"share": {"low": 0.0, "high": 1.0, "step": step}}}, base)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        share = space.suggest(trial)["share"]
        return values[min(shares, key=lambda one: abs(one - share))]

    with quiet_optuna():
        study = optuna.create_study(
            directions=DIRECTIONS,
            sampler=make_sampler(sampler, space, space.first(base), trials, seed),
        )
        study.optimize(objective, n_trials=trials)
    every = np.array(list(values.values()))
    reached = history([trial.values for trial in study.trials], DIRECTIONS, corner(every))
    return reached / attainable(every)


def corner(every: NDArray[np.float64]) -> NDArray[np.float64]:
    """The worst recall and the worst hallucination of all shares."""
    return np.array([every[:, 0].min(), every[:, 1].max()])


def attainable(every: NDArray[np.float64]) -> float:
    """What all shares together dominate."""
    sign = signs(DIRECTIONS)
    return hypervolume(every * sign, corner(every) * sign)


def evenly(values: dict[float, tuple[float, float]], sizes: tuple[int, ...]) -> dict[int, float]:
    """What an even grid of so many shares dominates."""
    every, sign = np.array(list(values.values())), signs(DIRECTIONS)
    shares = np.array(list(values))
    found = {}
    for size in sizes:
        wanted = np.linspace(0, 1, size)
        chosen = every[[int(np.abs(shares - share).argmin()) for share in wanted]]
        found[size] = hypervolume(chosen * sign, corner(every) * sign) / attainable(every)
    return found


def print_table(reached: dict[str, NDArray[np.float64]], even: dict[int, float]) -> None:
    """One row per sampler as Markdown."""
    trials = len(next(iter(reached.values()))[0])
    shown = [n for n in SHOWN if n <= trials]
    print("| sampler | " + " | ".join(f"{n} trials" for n in shown) + " |")
    print("| --- |" + " --- |" * len(shown))
    for sampler, rows in reached.items():
        cells = [f"{rows[:, n - 1].mean():.3f} ± {rows[:, n - 1].std():.3f}" for n in shown]
        print(f"| {sampler} | " + " | ".join(cells) + " |")
    print("even grid: " + ", ".join(f"{n} shares {value:.3f}" for n, value in even.items()))


def draw(axes: Axes, reached: dict[str, NDArray[np.float64]], even: dict[int, float]) -> None:
    """Mean and the middle half of the seeds against the number of trials."""
    for sampler, rows in reached.items():
        count = np.arange(1, rows.shape[1] + 1)
        low, high = np.quantile(rows, [0.25, 0.75], axis=0)
        axes.plot(count, rows.mean(axis=0), color=SAMPLERS[sampler], label=sampler)
        axes.fill_between(count, low, high, color=SAMPLERS[sampler], alpha=0.2, linewidth=0)
    axes.plot(list(even), list(even.values()), "s", color=SWEEP, label="even grid of so many")
    axes.set_xlim(3, None)
    axes.set_ylim(0.75, 1.01)
    axes.set_xlabel("trials (the first three are the same)")
    axes.set_ylabel("share of the attainable hypervolume")
    axes.set_title("How fast each sampler finds the front")


if __name__ == "__main__":
    main()
