"""The command `dsa benchmark-alignment`; what it needs is imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def benchmark_alignment(
    bank: Annotated[str, typer.Option(help="Folder of a bank, or 'embedded'.")] = "embedded",
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Folder of CLEVR v1.0's or VQAv2's questions about the bank's pictures.  "
            "[default: written about its scenes]"
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Text encoder for the questions.  [default: the bank's]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small comparison, within five minutes.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(help="Trainings of each variant.  [default: 3, quick 2]")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Pictures to train on; 0 for all.  [default: 3000, quick 700]"),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Questions a step.  [default: 32, quick 128]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most.  [default: 50, quick 7]")] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Factor on the paper's learning rates.  [default: 1, quick 3]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for all that is written.")] = Path(
        "runs/alignment"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the alignment matrix with static and attention fusion on questions; two tables.

    Accuracy by family with intervals, response time side by side, ablations, how steadily each
    learns; writes results.json, plots and a page. A call that was interrupted goes on.
    """
    from dataclasses import replace

    from rich.console import Console

    from dsa_agents.alignment_benchmark.plan import Plan
    from dsa_agents.alignment_benchmark.report import write_report
    from dsa_agents.alignment_benchmark.run import run_benchmark
    from dsa_agents.alignment_benchmark.tables import print_benchmark
    from dsa_agents.commands import print_json
    from dsa_env.errors import DSAError

    plan = Plan.quick() if quick else Plan()
    if seeds is not None and seeds < 1:
        raise DSAError(f"--seeds is how often each variant is trained, got {seeds}.")
    if images is not None and images < 0:
        raise DSAError(f"--images is how many pictures to train on, 0 for all; got {images}.")
    given: dict[str, Any] = {
        "seeds": None if seeds is None else tuple(range(seeds)),
        "images": images or None,
        "batch": batch,
        "epochs": epochs,
        "rate": rate,
    }
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    if images == 0:
        plan = replace(plan, images=None)
    results = run_benchmark(
        bank,
        out,
        plan,
        questions=questions,
        encoder=encoder,
        say=lambda line: typer.echo(line, err=True),
    )
    page = write_report(results, out)
    if as_json:
        print_json({"out": str(out), "report": str(page), **results})
        return
    print_benchmark(results, Console())
    typer.echo(f"Report: {page}")
