"""The command `dsa benchmark`; what it needs is imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA, SIZE, RUN = "What is captioned", "How much", "How it is done"


def benchmark(
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="'embedded', a bank's folder, or a dataset as dsa build reads it; its bank is "
            "then built in --out.",
            rich_help_panel=DATA,
        ),
    ] = "embedded",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the dataset.", rich_help_panel=DATA)
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Frozen encoder for the dataset's bank, as --model of dsa build.  "
            "[default: embedded]",
            rich_help_panel=DATA,
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Object detector for it, as in dsa build.  [default: embedded]",
            rich_help_panel=DATA,
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PATH of one or more LLaVA, BLIP-2 or IDEFICS: llava-1.5=PATH blip-2=PATH "
            "flamingo=PATH.  [default: the embedded LLaVA]",
        ),
    ] = None,
    controller: Annotated[
        list[str] | None,
        typer.Option(
            help="A run's folder or a controller's, for every model that it fits; or NAME=PATH "
            "for each.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Seeds of a run: 0,1,2.  [default: the best on validation]"),
    ] = None,
    split: Annotated[
        str, typer.Option(help="test, or validation while you still choose.", rich_help_panel=SIZE)
    ] = "test",
    pictures: Annotated[
        int | None,
        typer.Option(help="Pictures, drawn from the split.  [default: all]", rich_help_panel=SIZE),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="What models are asked; repeatable.  [default: each model's own prompts]",
            rich_help_panel=SIZE,
        ),
    ] = None,
    fixed_pictures: Annotated[
        int | None,
        typer.Option(
            help="Validation pictures on which the best fixed g is chosen; 0 for all.  [default: "
            "all with a run trained on this bank, else 500]",
            rich_help_panel=SIZE,
        ),
    ] = None,
    grid: Annotated[
        int, typer.Option(help="How many g it is chosen among.", rich_help_panel=SIZE)
    ] = 11,
    ceilings: Annotated[
        bool,
        typer.Option(
            help="Rows for full information and the oracle, with a run trained on this bank: "
            "captions of the split for its whole grid of g.",
            rich_help_panel=SIZE,
        ),
    ] = True,
    bootstrap: Annotated[
        int,
        typer.Option(help="Resamples behind the intervals; 0 for none.", rich_help_panel=SIZE),
    ] = 2000,
    rounds: Annotated[
        int,
        typer.Option(
            help="Interleaved rounds behind the times; 0 measures none.", rich_help_panel=SIZE
        ),
    ] = 30,
    device: Annotated[
        str | None,
        typer.Option(
            help="Torch device of the models.  [default: a graphics card where there is one]",
            rich_help_panel=RUN,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bf16 or fp16.  [default: the model's own on a card, else float32]",
            rich_help_panel=RUN,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(help="Captions that are written at once.", rich_help_panel=RUN)
    ] = 64,
    seed: Annotated[
        int, typer.Option(help="Of drawn pictures and resamples.", rich_help_panel=RUN)
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for all that is written.")] = Path(
        "runs/benchmark"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Caption with models as they are and with a controller inside; the source paper's table.

    Recall, BLEU, CIDEr, hallucination rate, speed and overhead, with paired intervals, and which
    properties of pictures predict where granularity helps. Writes results.json, charts, a page
    and a Markdown file. A call that was interrupted goes on.
    """
    from rich.console import Console

    from dsa_agents.benchmark.plan import Plan, sort_words
    from dsa_agents.benchmark.report import write_report
    from dsa_agents.benchmark.run import run_benchmark
    from dsa_agents.benchmark.terminal import print_benchmark
    from dsa_agents.commands import import_from_here, parse_seeds, print_json

    given, controllers = sort_words(models or [], controller or [], more or [])
    plan = Plan(
        split=split,
        pictures=pictures,
        prompts=tuple(prompt) if prompt else None,
        fixed_pictures=fixed_pictures,
        grid=grid,
        ceilings=ceilings,
        batch=batch,
        rounds=rounds,
        resamples=bootstrap,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    import_from_here()
    results = run_benchmark(
        dataset,
        out,
        plan,
        models=given or None,
        controllers=controllers,
        seeds=parse_seeds(seeds, None, []),
        root=root,
        encoder=encoder,
        detector=detector,
        say=lambda line: typer.echo(line, err=True),
    )
    page = write_report(results, out)
    if as_json:
        print_json({"out": str(out), "report": str(page), **results})
        return
    print_benchmark(results, Console())
    typer.echo(f"Report: {page}")
