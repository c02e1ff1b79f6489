"""The command `dsa tune`; what it needs is imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsa_agents.options import (
    Algorithm,
    AsJson,
    Bank,
    Faiss,
    Grid,
    Horizon,
    K,
    Model,
    NEnvs,
    Prompt,
    Reward,
    Shortlist,
)

if TYPE_CHECKING:
    from dsa_tuning.config import TuneConfig


def tune(
    bank: Bank = None,
    direction: Annotated[
        str | None,
        typer.Option(help="text_to_image, image_to_text or captioning.  [default: image_to_text]"),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="In all, over all workers and machines.  [default: 20]")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="pareto, recall or package.module:name.  [default: pareto]"),
    ] = None,
    max_hallucination: Annotated[
        float | None,
        typer.Option(help="A bound on the hallucination rate; the objective is then recall."),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="TOML file of what is searched.  [default: the share]")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="gp, tpe, random or grid.  [default: gp]")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds that a trial averages, at least 3.  [default: 3]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler.  [default: 0]")] = None,
    timesteps: Annotated[
        int | None,
        typer.Option(help="Steps per seed of a trial.  [default: a third of the algorithm's]"),
    ] = None,
    final_timesteps: Annotated[
        int | None,
        typer.Option(help="Steps per seed of the test.  [default: as --timesteps, or full]"),
    ] = None,
    final: Annotated[
        bool, typer.Option("--final/--no-final", help="Test what was chosen on the test split.")
    ] = True,
    reward: Reward = None,
    reward_arg: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the reward, not searched; repeatable.")
    ] = None,
    algorithm: Algorithm = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Hyperparameter NAME=VALUE, not searched; repeatable."),
    ] = None,
    k: K = None,
    horizon: Horizon = None,
    shortlist: Shortlist = None,
    faiss: Faiss = False,
    model: Model = None,
    prompt: Prompt = None,
    grid: Grid = None,
    n_envs: NEnvs = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="DSA_STORAGE",
            help="Optuna storage that machines share: postgresql://.., mysql://.., grpc://.. or a "
            "*.log file.  [default: a journal file in --out]",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="The study's name there.  [default: dsa-tune]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.  [default: one a core, at most 4]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder.  [default: runs/tune-DIRECTION]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in --out")] = False,
    as_json: AsJson = False,
) -> None:
    """Tune the reward's weights by what they lead to; writes best.json and a report.

    Bayesian optimisation over trainings, judged on the validation split by Recall@k and
    hallucination rate, never by the reward that the weights define. Says first how much the
    weights can matter on the bank.
    """
    from rich.console import Console

    from dsa_agents.commands import import_from_here, print_json, reward_kwargs, split_pair
    from dsa_env.errors import DSAError
    from dsa_tuning.names import RECALL
    from dsa_tuning.report import print_study
    from dsa_tuning.space import read_tables
    from dsa_tuning.study import tune as run_tuning

    import_from_here()
    if objective is None and max_hallucination is not None:
        objective = RECALL
    if seeds is not None and seeds < 1:
        raise DSAError(f"--seeds is how many seeds a trial averages, got {seeds}.")
    trained = {
        "bank": bank,
        "direction": direction,
        "k": k,
        "horizon": horizon,
        "shortlist": shortlist,
        "faiss": faiss or None,
        "model": model,
        "prompts": tuple(prompt) if prompt else None,
        "grid": grid,
        "reward": reward,
        "reward_kwargs": reward_kwargs(None, None, reward_arg or []) or None,
        "algorithm": algorithm,
        "hyperparameters": dict(map(split_pair, setting or [])) or None,
        "timesteps": timesteps,
        "n_envs": n_envs,
        "seeds": None if seeds is None else tuple(range(seeds)),
    }
    tuned = {
        "tables": None if space is None else read_tables(space),
        "objective": objective,
        "max_hallucination": max_hallucination,
        "sampler": sampler,
        "trials": trials,
        "seed": seed,
        "final_timesteps": final_timesteps,
    }
    folder = out or Path("runs") / f"tune-{direction or 'image_to_text'}"
    config = _config(_given(trained), _given(tuned), folder if resume else None)
    found = run_tuning(
        config,
        folder,
        resume=resume,
        storage=storage,
        name=study,
        workers=workers,
        final=final,
        say=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        print_json({"study": str(folder), "finished": found.finished, **found.results})
        return
    print_study(found.results, Console())
    if found.results["chosen"] is not None:
        typer.echo(f"Train with it: dsa train --weights {folder / 'best.json'}")
    typer.echo(f"Report: {found.report}")


def _config(
    trained: dict[str, Any], tuned: dict[str, Any], resumed: Path | None
) -> TuneConfig | None:
    """The defaults, or the resumed study's own configuration, with the options that were given."""
    from dataclasses import replace

    from dsa_tuning.config import TuneConfig
    from dsa_tuning.study import read_config

    if resumed is not None and not trained and not tuned:
        return None
    begun = TuneConfig() if resumed is None else read_config(resumed)
    return replace(begun, base=replace(begun.base, **trained), **tuned)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
