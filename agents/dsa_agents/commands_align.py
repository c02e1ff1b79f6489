"""The command `dsa align`: an alignment matrix, an aligned bank, recall before and after."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def align(
    bank: Annotated[str, typer.Argument(help="Folder of a bank, or 'embedded'.")],
    out: Annotated[Path, typer.Option(help="Folder of the aligned bank; must not exist.")],
    init: Annotated[
        str, typer.Option(help="How A starts: uniform in [-0.01, 0.01], orthogonal or identity.")
    ] = "uniform",
    rank: Annotated[
        int | None, typer.Option(help="A as a product of this rank.  [default: full]")
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="One matrix for pictures, another for texts.")
    ] = False,
    project: Annotated[
        str,
        typer.Option(
            help="Learnt input projections before A: visual (coarse and fine), all (text too) or "
            "where_needed (where widths differ: none here, A alone)."
        ),
    ] = "visual",
    blend: Annotated[
        bool, typer.Option(help="Learn from blends of both views too, at a g drawn each step.")
    ] = True,
    epochs: Annotated[int, typer.Option(help="Passes over the training texts at most.")] = 50,
    patience: Annotated[
        int, typer.Option(help="Epochs without a better validation loss that end it.")
    ] = 5,
    batch: Annotated[int, typer.Option(help="Pairs a step.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the start and the order.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted call left.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples behind the intervals; 0 for none.")
    ] = 2000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Learn an alignment matrix on a bank; writes an aligned bank, prints recall before and after.

    V' = A V and L' = A L, trained with a contrastive loss in both directions on the train split,
    stopped early on validation. Every environment takes the aligned bank like any other.
    """
    from rich.console import Console

    from dsa_agents.alignment_report import compare_recall, print_recall
    from dsa_env.alignment.aligned_bank import align_bank
    from dsa_env.alignment.training import AlignmentSettings
    from dsa_env.bank import resolve_bank

    source = resolve_bank(bank)
    aligned, report = align_bank(
        source,
        out,
        settings=AlignmentSettings(epochs=epochs, patience=patience, batch=batch, blend=blend),
        form={"init": init, "rank": rank, "separate": separate, "project": project},
        seed=seed,
        resume=resume,
        command=shlex.join(sys.argv),
    )
    if "error" in (report["hallucination"] or {}):
        typer.echo(
            f"warning: no hallucination network: {report['hallucination']['error']}", err=True
        )
    recall = None
    if len(source.split_texts("test")):
        recall = compare_recall(source, aligned, resamples=bootstrap)
    else:
        typer.echo("warning: the bank has no texts in split 'test': no recall to tell.", err=True)
    if as_json:
        import json

        document: dict[str, Any] = {
            "bank": str(out),
            "sha256": aligned.sha256,
            "source": source.sha256,
            "recall": recall,
            "training": report,
        }
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    if recall is not None:
        print_recall(recall, Console())
    last, stability = len(report["epochs"]) - 1, report["stability"]
    typer.echo(
        f"{report['parameters']:,} parameters, {last} epochs in {report['seconds']:.0f} s, best "
        f"validation loss {report['epochs'][report['best_epoch']]['validation_loss']:.3f} after "
        f"epoch {report['best_epoch']}; {stability['clipped_share']:.0%} of the steps were clipped."
    )
    typer.echo(f"{aligned.path}: {aligned.n_images} images, {aligned.n_texts} texts, aligned.")
