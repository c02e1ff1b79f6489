"""The commands `dsa build` and `dsa pretrain`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsa_env.errors import DSAError, unknown

if TYPE_CHECKING:
    from dsa_env.datasets import Dataset

DATASETS = ("scenes", "clevr")


def build(
    out: Annotated[Path, typer.Option(help="Folder to write the bank to; must not exist.")],
    dataset: Annotated[
        str, typer.Option(help="scenes (the embedded world, drawn here) or clevr (CLEVR v1.0).")
    ] = "scenes",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the dataset; scenes are drawn into it.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="CLIP- or SigLIP-family hub name or folder, or 'embedded'.")
    ] = "embedded",
    detector: Annotated[
        str, typer.Option(help="Object detector's hub name or folder, or 'embedded'.")
    ] = "embedded",
    fine: Annotated[
        str, typer.Option(help="attended (regions weighted by the query) or mean.")
    ] = "attended",
    threshold: Annotated[float, typer.Option(help="Least detector score of a region.")] = 0.5,
    regions: Annotated[int, typer.Option(help="Most regions of a picture.")] = 12,
    gallery_size: Annotated[
        int | None,
        typer.Option(
            help="Images a gallery; default: a split is one gallery, for scenes --held-out."
        ),
    ] = None,
    train: Annotated[int, typer.Option(help="Scenes to draw for training.")] = 9000,
    held_out: Annotated[int, typer.Option(help="Scenes for validation, and for test.")] = 1500,
    captions: Annotated[int, typer.Option(help="Captions a picture, where they are written.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of drawn scenes and written captions.")] = 0,
    workers: Annotated[int | None, typer.Option(help="CPU processes; default: every core.")] = None,
    device: Annotated[str, typer.Option(help="Torch device of the models.")] = "cpu",
    restart: Annotated[bool, typer.Option("--restart", help="Drop an unfinished build.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Build a feature bank from a dataset with frozen models."""
    from dsa_env.bank import FeatureBank
    from dsa_env.build import (
        BuildSettings,
        add_hallucination_detector,
        build_bank,
        lacks_hallucination_detector,
        load_models,
    )
    from dsa_env.datasets.clevr import draw_world

    if dataset not in DATASETS:
        raise unknown("dataset", dataset, DATASETS)
    if dataset == "scenes":
        gallery_size = gallery_size or held_out
    settings = BuildSettings(
        model, detector, threshold, regions, fine, gallery_size=gallery_size, device=device
    )
    if out.exists():
        bank = FeatureBank.open(out)
        if not lacks_hallucination_detector(bank):
            raise DSAError(f"{out} exists; choose another --out or remove it")
    else:
        load_models(settings)  # a wrong name shows before anything is drawn
        if dataset == "scenes":
            root = root or out.parent / f"{out.name}-scenes"
            counts = {"train": train, "validation": held_out, "test": held_out}
            data = draw_world(root, counts, captions=captions, seed=seed, workers=workers)
        else:
            data = _read_clevr(root, captions, seed)
        bank = build_bank(
            data, out, settings, workers=workers, restart=restart, command=shlex.join(sys.argv)
        )
    report = add_hallucination_detector(bank, seed=seed)
    summary = {
        "bank": str(out),
        "images": bank.n_images,
        "texts": bank.n_texts,
        "dim": bank.dim,
        "sha256": bank.sha256,
        "hallucination": report,
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{out}: {bank.n_images} images, {bank.n_texts} texts, {bank.dim} features")


def _read_clevr(root: Path | None, captions: int, seed: int) -> Dataset:
    from dsa_env.datasets.clevr import read_dataset

    if root is None:
        raise DSAError("--dataset clevr needs --root, the folder with 'images' and 'scenes'")
    return read_dataset(root, captions=captions, seed=seed)


def pretrain(
    out: Annotated[Path, typer.Option(help="Folder to write the trained models to.")],
    world: Annotated[
        Path | None, typer.Option(help="Folder to draw the scenes into; default: beside --out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of scenes and training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute's worth, to try the recipe.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train the embedded encoder and detector from scratch, as they were made."""
    from dsa_env.pretrain.recipe import pretrain as run

    report = run(out, world or out.parent / f"{out.name}-world", seed=seed, quick=quick)
    typer.echo(json.dumps(report, indent=None if as_json else 2))
