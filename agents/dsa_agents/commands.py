"""The commands of this package: thin functions over it; what they need is imported inside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

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
from dsa_env.errors import DSAError


def train(
    more_seeds: Annotated[list[int] | None, typer.Argument(hidden=True)] = None,
    bank: Bank = None,
    direction: Annotated[
        str | None,
        typer.Option(help="text_to_image, image_to_text or captioning.  [default: text_to_image]"),
    ] = None,
    algorithm: Algorithm = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Steps per seed.  [default: the algorithm's]")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="One training each: 0 1 2, or 0,1,2.  [default: 0]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="A single seed.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the hit.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the penalty.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help='JSON file {"alpha": .., "beta": ..}, or best.json of dsa tune, whose settings '
            "hold wherever no option says otherwise."
        ),
    ] = None,
    reward: Reward = None,
    reward_arg: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the reward; repeatable.")
    ] = None,
    k: K = None,
    horizon: Horizon = None,
    shortlist: Shortlist = None,
    faiss: Faiss = False,
    ambiguity: Annotated[
        bool, typer.Option("--ambiguity", help="Observe how many readings the query's text has.")
    ] = False,
    model: Model = None,
    prompt: Prompt = None,
    grid: Grid = None,
    n_envs: NEnvs = None,
    observation: Annotated[
        str | None,
        typer.Option(help="Rollouts hold features, or a query's index.  [default: features]"),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Hyperparameter NAME=VALUE; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder.  [default: runs/ALGORITHM-DIRECTION]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an agent that chooses the granularity; writes a run's folder."""
    from dsa_agents.run_folder import TrainConfig
    from dsa_agents.train import train as run_training

    tuned = {} if weights is None else read_weights(weights)
    settings = {**tuned.pop("hyperparameters", {}), **dict(map(split_pair, setting or []))}
    arguments = {**tuned.pop("reward_kwargs", {}), **reward_kwargs(alpha, beta, reward_arg or [])}
    given = {
        "bank": bank,
        "direction": direction,
        "k": k,
        "horizon": horizon,
        "shortlist": shortlist,
        "faiss": faiss,
        "ambiguity": ambiguity,
        "model": model,
        "prompts": tuple(prompt or ()),
        "grid": grid,
        "reward": reward,
        "reward_kwargs": arguments,
        "algorithm": algorithm,
        "hyperparameters": settings,
        "timesteps": timesteps,
        "n_envs": n_envs,
        "observation": observation,
        "seeds": parse_seeds(seeds, seed, more_seeds or []),
    }
    chosen: dict[str, Any] = tuned | {name: value for name, value in given.items() if value}
    numbers = ("k", "horizon", "shortlist", "grid", "timesteps", "n_envs")
    chosen |= {name: 0 for name in numbers if given[name] == 0}
    import_from_here()
    config = TrainConfig(**chosen)
    folder = out or Path("runs") / f"{config.algorithm}-{config.direction}"
    run = run_training(None if resume and not chosen else config, folder, resume=resume)
    summaries = {seed: run.summary(seed) for seed in run.seeds}
    if as_json:
        print_json({"run": str(folder), "best_seed": run.best_seed, "seeds": summaries})
        return
    typer.echo("seed      steps  seconds  best validation reward (at step)")
    for one, summary in summaries.items():
        typer.echo(
            f"{one:4d} {summary['timesteps']:10,d} {summary['train_seconds']:8.1f}  "
            f"{summary['best_validation_reward']:.4f} ({summary['best_step']:,})"
        )
    typer.echo(f"Compare it with the baselines: dsa evaluate {folder}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    split: Annotated[
        str, typer.Option(help="test, or validation while you still choose between runs.")
    ] = "test",
    bank: Annotated[
        str | None, typer.Option(help="Where the run's bank lies now.  [default: where it was]")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples behind the intervals; 0 for none.")
    ] = 2000,
    as_json: AsJson = False,
) -> None:
    """Compare a run's agent with every baseline; writes results.json, plots and a report.

    Says whether granularity matters on this data: whether a policy that knew every training
    query's whole reward curve beats the best fixed g.
    """
    from rich.console import Console

    from dsa_agents.evaluate import evaluate as run_evaluation
    from dsa_agents.report import REPORT, write_evaluation
    from dsa_agents.run_folder import RunFolder
    from dsa_agents.tables import print_results

    import_from_here()
    opened = RunFolder.open(run, bank=bank)
    evaluation = run_evaluation(opened, split=split, resamples=bootstrap)
    folder = run if split == "test" else run / split
    write_evaluation(evaluation, opened, folder)
    if as_json:
        print_json(evaluation.results)
        return
    print_results(evaluation.results, Console())
    typer.echo(f"Report: {folder / REPORT}")


def demo(
    out: Annotated[Path, typer.Option(help="Where the runs and the report go.")] = Path(
        "runs/demo"
    ),
    bank: Annotated[str, typer.Option(help="Folder of a bank, or 'embedded'.")] = "embedded",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, counted from 0.")] = 3,
    timesteps: Annotated[
        int | None, typer.Option(help="Steps per seed.  [default: the algorithm's]")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw an earlier demonstration in --out away.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train and compare both directions on the embedded world, with a report.

    The same command continues a demonstration that was interrupted.
    """
    from rich.console import Console

    from dsa_agents.demo import demo as run_demo
    from dsa_agents.tables import print_results

    typer.echo(f"Two directions at once, seeds: {seeds} each. All goes to {out}.", err=True)
    found = run_demo(out, bank=bank, seeds=seeds, timesteps=timesteps, overwrite=overwrite)
    if as_json:
        results = {section.results["direction"]: section.results for section in found.sections}
        print_json({"report": str(found.report), "seconds": found.seconds, "results": results})
        return
    for section in found.sections:
        print_results(section.results, Console())
    typer.echo(f"Done in {found.seconds / 60:.1f} minutes. Report: {found.report}")


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Option(help="New folder for the controller.")],
    seed: Annotated[
        int | None, typer.Option(help="Whose controller.  [default: the best on validation]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's controller as safetensors and JSON, loadable with torch alone."""
    from dsa_agents.export import export as write_controller
    from dsa_agents.run_folder import RunFolder

    controller = write_controller(RunFolder.open(run, check_bank=False), out, seed)
    if as_json:
        print_json({"controller": str(out), **controller.config})
        return
    typer.echo(f"{out}: seed {controller.metadata['seed']}, inputs {controller.inputs}")
    typer.echo(f"Load it: GranularityController.from_pretrained({str(out)!r})")


def import_from_here() -> None:
    """Let ``package.module:name`` name a module in the folder where the user stands."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    import json

    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def parse_seeds(seeds: str | None, seed: int | None, more: list[int]) -> tuple[int, ...] | None:
    """The seeds that ``--seeds 0 1 2``, ``--seeds 0,1,2`` or ``--seed 0`` name; None for none."""
    if seeds is None:
        if more:
            raise DSAError(f"Unexpected argument {more[0]}; seeds go behind --seeds.")
        return None if seed is None else (seed,)
    if seed is not None:
        raise DSAError("Give --seed or --seeds, not both.")
    try:
        return (*(int(part) for part in seeds.replace(",", " ").split()), *more)
    except ValueError:
        raise DSAError(f"--seeds takes whole numbers such as 0 1 2, got {seeds!r}.") from None


def split_pair(text: str) -> tuple[str, str]:
    """``"name=value"`` in its two parts."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise DSAError(f"Expected NAME=VALUE, got {text!r}; write for example learning_rate=1e-3.")
    return name.strip(), value.strip()


def reward_kwargs(alpha: float | None, beta: float | None, pairs: list[str]) -> dict[str, Any]:
    """The reward's arguments: single weights, then NAME=VALUE."""
    kwargs: dict[str, Any] = {n: v for n, v in (("alpha", alpha), ("beta", beta)) if v is not None}
    return kwargs | {name: _plain(value) for name, value in map(split_pair, pairs)}


def read_weights(path: Path) -> dict[str, Any]:
    """The fields of a training's configuration that a JSON file holds.

    Either two plain weights, or what ``dsa tune`` wrote: then also the reward's other arguments,
    the hyperparameters and the bank and direction that they were tuned for.

    Raises:
        DSAError: the file holds neither.
    """
    from dsa_agents.run_folder import TrainConfig
    from dsa_env.files import read_json

    document = read_json(path)
    if isinstance(document, dict) and isinstance(document.get("train"), dict):
        TrainConfig.from_json(document["train"])  # refuses unknown fields
        return {name: value for name, value in document["train"].items() if value is not None}
    try:
        return {"reward_kwargs": {name: float(document[name]) for name in ("alpha", "beta")}}
    except (TypeError, KeyError, ValueError):
        raise DSAError(
            f'{path} holds no reward weights; it should look like {{"alpha": 1.0, "beta": 0.25}}.'
        ) from None


def _plain(text: str) -> Any:
    """A number, true, false, null or a list where the text is JSON; else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
