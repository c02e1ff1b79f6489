"""The one look at the test split: the chosen weights beside two that nobody had to search."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, as_completed
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dsa_agents.measures import Measures, measure_policies
from dsa_agents.policies import ControllerPolicy
from dsa_agents.run_folder import CONFIG, RunFolder, TrainConfig, read_run
from dsa_agents.statistics import bootstrap_means
from dsa_agents.train import complete, train
from dsa_env.errors import DSAError
from dsa_env.progress import bar
from dsa_env.workers import heed_interrupts, one_thread_each, process_pool, stay_quiet
from dsa_tuning.config import TuneConfig
from dsa_tuning.trials import neutral_core

FINAL = "final"
TUNED = "tuned"
REFERENCES = {"recall_only": (1.0, 0.0), "equal_weights": (0.5, 0.5)}
"""alpha and beta that the tuned ones are held against."""
USUAL = "as_given"
"""The reference where there are no weights: the reward and the hyperparameters as they came."""


def candidates(config: TuneConfig, chosen: TrainConfig) -> dict[str, TrainConfig]:
    """What is trained and tested: name -> configuration, with seeds that no trial has used.

    The references differ from the tuned configuration in the weights alone.
    """
    seeds = config.base.seeds
    fresh = tuple(range(max(seeds) + 1, max(seeds) + 1 + len(seeds)))
    longer = replace(chosen, timesteps=config.final_timesteps, validate_every=None, seeds=fresh)
    found = {TUNED: longer}
    if config.space.has_share:
        for name, (alpha, beta) in REFERENCES.items():
            weighed = {**longer.reward_kwargs, "alpha": alpha, "beta": beta}
            found[name] = replace(longer, reward_kwargs=weighed)
    else:
        found[USUAL] = replace(
            longer,
            reward_kwargs=config.base.reward_kwargs,
            hyperparameters=config.base.hyperparameters,
        )
    return {name: complete(each) for name, each in found.items()}


def measure_candidates(
    configs: Mapping[str, TrainConfig],
    folder: Path,
    *,
    workers: int = 1,
    resamples: int = 2000,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every candidate and measure it on the test split.

    A training that was interrupted goes on where it stopped.

    Args:
        configs: of `candidates`.
        folder: the study's folder; the runs go below ``final/``.
        workers: processes.
        resamples: of the bootstrap over pictures and seeds.
        progress: show a progress bar on standard error.

    Returns:
        ``policies`` and ``differences`` (tuned minus each reference, paired): metric ->
        ``{"mean", "low", "high"}``; ``queries``, ``pictures``, ``seeds`` and ``timesteps``.

    Raises:
        DSAError: the bank has no test images, or a worker was killed.
        KeyboardInterrupt: after Ctrl-C; the same command goes on.
    """
    first = next(iter(configs.values()))
    core = neutral_core(first, "test")
    runs = _train_all(configs, folder / FINAL, workers, progress)
    measures: dict[str, Measures] = {}
    for name, run in runs.items():
        policies = [ControllerPolicy(run.controller(seed)) for seed in run.seeds]
        found = measure_policies(core, policies)
        measures[name] = {m: v for m, v in found.items() if m not in ("reward", "regret")}
    columns = {(name, m): v for name, found in measures.items() for m, v in found.items()}
    estimates = bootstrap_means(columns, core.retrieval.cluster, resamples=resamples)
    metrics = list(measures[TUNED])
    return {
        "policies": {
            name: {metric: estimates[name, metric].summary() for metric in metrics}
            for name in measures
        },
        "differences": {
            name: {
                metric: (estimates[TUNED, metric] - estimates[name, metric]).summary()
                for metric in metrics
            }
            for name in measures
            if name != TUNED
        },
        "rewards": {name: config.reward_kwargs for name, config in configs.items()},
        "queries": core.n_queries,
        "pictures": len(set(core.retrieval.cluster.tolist())),
        "seeds": list(first.seeds),
        "timesteps": first.timesteps,
    }


def _train_all(
    configs: Mapping[str, TrainConfig], folder: Path, workers: int, progress: bool
) -> dict[str, RunFolder]:
    """The finished runs, trained side by side as far as there are workers."""
    jobs = {name: partial(_train, config, folder / name) for name, config in configs.items()}
    shown = bar("final trainings", len(jobs)) if progress else nullcontext()
    with shown as progress_bar:
        if workers == 1:
            for job in jobs.values():
                job()
                if progress_bar is not None:
                    progress_bar.advance()
        else:
            _in_pool(list(jobs.values()), min(workers, len(jobs)), progress_bar)
    return {name: RunFolder.open(folder / name) for name in configs}


def _in_pool(jobs: list[partial[None]], workers: int, progress_bar: Any) -> None:
    from concurrent.futures.process import BrokenProcessPool

    with one_thread_each(), process_pool(workers, stay_quiet) as pool:
        futures: list[Future[None]] = [pool.submit(_heeding, job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                if progress_bar is not None:
                    progress_bar.advance()
        except BrokenProcessPool:
            raise DSAError(
                "A final training was killed, perhaps for want of memory; the same command with "
                "--resume goes on."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _heeding(job: partial[None]) -> None:
    with heed_interrupts():
        job()


def _train(config: TrainConfig, folder: Path) -> None:
    """Train, or finish, one run; one of an earlier choice of weights is thrown away."""
    resume = (folder / CONFIG).is_file()
    if resume and read_run(folder)[0] != config:
        shutil.rmtree(folder)
        resume = False
    train(config, folder, resume=resume, progress=False)
