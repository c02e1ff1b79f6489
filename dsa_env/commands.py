"""The commands `dsa build` and `dsa pretrain`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsa_env.errors import DSAError, unknown

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank
    from dsa_env.datasets import Dataset
    from dsa_env.extraction import BuildSettings

DATA, FEATURES, SCENES, OWN, RUN = (
    "Data", "Features", "Drawn scenes", "Embeddings of your own", "How it is done",
)  # fmt: skip


def build(
    out: Annotated[Path, typer.Option(help="Folder to write the bank to; must not exist.")],
    dataset: Annotated[
        str,
        typer.Option(
            help="scenes (the embedded world, drawn here), clevr, coco, visual_genome, flickr30k, "
            "table or hugging_face.",
            rich_help_panel=DATA,
        ),
    ] = "scenes",
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder or file of the dataset; scenes are drawn into it.", rich_help_panel=DATA
        ),
    ] = None,
    on_bad: Annotated[
        str,
        typer.Option(
            help="What is missing or broken: fail, or skip and list it in problems.json.",
            rich_help_panel=DATA,
        ),
    ] = "fail",
    limit: Annotated[
        int | None, typer.Option(help="Pictures a split at most.", rich_help_panel=DATA)
    ] = None,
    captions: Annotated[
        int,
        typer.Option(
            help="Captions a picture, where they are written or chosen.", rich_help_panel=DATA
        ),
    ] = 4,
    seed: Annotated[
        int,
        typer.Option(
            help="Of drawn scenes, written captions and drawn splits.", rich_help_panel=DATA
        ),
    ] = 0,
    variant: Annotated[
        str | None, typer.Option(help="coco: karpathy, 2017 or 2014.", rich_help_panel=DATA)
    ] = None,
    karpathy: Annotated[
        Path | None,
        typer.Option(help="File of Karpathy's split (dataset_coco.json).", rich_help_panel=DATA),
    ] = None,
    leaks: Annotated[
        str,
        typer.Option(
            help="Pictures of another test split: refuse, or exclude.", rich_help_panel=DATA
        ),
    ] = "refuse",
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures, where it is elsewhere.", rich_help_panel=DATA),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="table, hugging_face: column.", rich_help_panel=DATA)
    ] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="table, hugging_face: column.", rich_help_panel=DATA)
    ] = None,
    extracted: Annotated[
        Path | None,
        typer.Option(
            help="hugging_face: folder for pictures from inside its files.", rich_help_panel=DATA
        ),
    ] = None,
    held_out_share: Annotated[
        float,
        typer.Option(
            help="Of the pictures, for a split that the files do not give.", rich_help_panel=DATA
        ),
    ] = 0.1,
    model: Annotated[
        str,
        typer.Option(
            help="Frozen model's hub name or folder (CLIP, SigLIP, LLaVA, BLIP-2, IDEFICS), or "
            "'embedded'.",
            rich_help_panel=FEATURES,
        ),
    ] = "embedded",
    detector: Annotated[
        str,
        typer.Option(
            help="Object detector's hub name or folder, or 'embedded'.", rich_help_panel=FEATURES
        ),
    ] = "embedded",
    labels: Annotated[
        str | None,
        typer.Option(
            help="What a zero-shot detector looks for: 'a dog,a car', or a file of lines.",
            rich_help_panel=FEATURES,
        ),
    ] = None,
    coarse: Annotated[
        str,
        typer.Option(
            help="pooled, or layer:K of the vision transformer.", rich_help_panel=FEATURES
        ),
    ] = "pooled",
    regions_by: Annotated[
        str,
        typer.Option(
            help="A region's features: crops (cut out, embedded), patches (tokens in its box) or "
            "queries (BLIP-2, IDEFICS: what each learned query finds, no detector).",
            rich_help_panel=FEATURES,
        ),
    ] = "crops",
    fine: Annotated[
        str,
        typer.Option(
            help="Regions become one view: attended (weighted by the query) or mean.",
            rich_help_panel=FEATURES,
        ),
    ] = "attended",
    text: Annotated[
        str | None,
        typer.Option(
            help="Where text features come from, for models with a choice (LLaVA).",
            rich_help_panel=FEATURES,
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Least detector score of a region.", rich_help_panel=FEATURES)
    ] = 0.5,
    regions: Annotated[
        int, typer.Option(help="Most regions of a picture.", rich_help_panel=FEATURES)
    ] = 12,
    gallery_size: Annotated[
        int | None,
        typer.Option(
            help="Images a gallery; default: a split is one gallery, for scenes --held-out.",
            rich_help_panel=FEATURES,
        ),
    ] = None,
    train: Annotated[
        int, typer.Option(help="Scenes to draw for training.", rich_help_panel=SCENES)
    ] = 9000,
    held_out: Annotated[
        int, typer.Option(help="Scenes for validation, and for test.", rich_help_panel=SCENES)
    ] = 1500,
    from_arrays: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            metavar="TEXT.npy IMAGE.npy PAIRS.csv",
            help="Embeddings instead of a dataset and a model; the table: text row, image row"
            "[, split].",
            rich_help_panel=OWN,
        ),
    ] = None,
    fine_from: Annotated[
        Path | None,
        typer.Option(
            help="Prototypes [K, D], text embeddings of class names: fine is their mean, weighted "
            "by how much an image looks like each.",
            rich_help_panel=OWN,
        ),
    ] = None,
    prototype_temperature: Annotated[
        float, typer.Option(help="Of the softmax over prototypes.", rich_help_panel=OWN)
    ] = 0.01,
    fine_array: Annotated[
        Path | None, typer.Option(help="Fine features [N, D], .npy.", rich_help_panel=OWN)
    ] = None,
    regions_array: Annotated[
        Path | None, typer.Option(help="Region features [N, R, D], .npy.", rich_help_panel=OWN)
    ] = None,
    device: Annotated[
        str, typer.Option(help="Torch device of the models.", rich_help_panel=RUN)
    ] = "cpu",
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bf16 or fp16; below float32, rankings are compared on a sample first.",
            rich_help_panel=RUN,
        ),
    ] = "float32",
    accept_dtype: Annotated[
        bool,
        typer.Option(
            "--accept-dtype", help="Build even if rankings do not survive.", rich_help_panel=RUN
        ),
    ] = False,
    batch: Annotated[
        int, typer.Option(help="Pictures that the models see at a time.", rich_help_panel=RUN)
    ] = 32,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: every core.", rich_help_panel=RUN)
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local, or ray: the cluster of RAY_ADDRESS, else one on this machine.",
            rich_help_panel=RUN,
        ),
    ] = "local",
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Drop an unfinished build.", rich_help_panel=RUN),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Build a feature bank from a dataset with frozen models, or from embeddings."""
    from dsa_env.bank import FeatureBank
    from dsa_env.build import lacks_hallucination_detector
    from dsa_env.datasets.registry import DATASETS, ReadOptions
    from dsa_env.extraction import BuildSettings

    command = shlex.join(sys.argv)
    own = {"fine_from": fine_from, "fine_array": fine_array, "regions_array": regions_array}
    if from_arrays is None and any(own.values()):
        name = next(name for name, value in own.items() if value).replace("_", "-")
        raise DSAError(f"--{name} belongs to --from-arrays TEXT.npy IMAGE.npy PAIRS.csv.")
    if dataset not in DATASETS:
        raise unknown("dataset", dataset, DATASETS)
    options = ReadOptions(
        captions=captions,
        seed=seed,
        on_bad=on_bad,  # type: ignore[arg-type]
        limit=limit,
        held_out_share=held_out_share,
        images=images,
        variant=variant,
        karpathy=karpathy,
        leaks=leaks,  # type: ignore[arg-type]
        image_column=image_column,
        caption_column=caption_column,
        extracted=extracted,
    )
    settings = BuildSettings(
        model,
        detector,
        threshold,
        regions,
        fine,
        gallery_size=gallery_size or (held_out if dataset == "scenes" else None),
        device=device,
        coarse=coarse,
        regions_by=regions_by,
        labels=read_labels(labels),
        dtype=dtype,
        batch=batch,
        text=text,
    )
    if out.exists():
        bank = FeatureBank.open(out)
        if not lacks_hallucination_detector(bank):
            raise DSAError(f"{out} exists; choose another --out or remove it")
    elif from_arrays is not None:
        bank = _from_arrays(
            from_arrays, own, out, prototype_temperature, seed, fine, gallery_size, command
        )
    else:
        counts = {"train": train, "validation": held_out, "test": held_out}
        bank = _from_dataset(
            dataset, root, options, counts, out, settings,
            accept_dtype=accept_dtype, workers=workers, engine=engine, restart=restart,
            command=command,
        )  # fmt: skip
    _tell(bank, out, _train_hallucination(bank, seed), as_json)


def read_labels(given: str | None) -> tuple[str, ...] | None:
    """The words of --labels: separated by commas, or the lines of a file."""
    if given is None:
        return None
    words = given.split(",")
    if len(words) == 1 and Path(given).is_file():
        words = Path(given).read_text(encoding="utf-8").splitlines()
    found = tuple(word.strip() for word in words if word.strip())
    if not found:
        raise DSAError(f"--labels {given!r} holds no words; give some, as in 'a dog,a car'.")
    return found


def _from_arrays(
    paths: tuple[Path, Path, Path],
    own: dict[str, Path | None],
    out: Path,
    temperature: float,
    seed: int,
    fine: str,
    gallery_size: int | None,
    command: str,
) -> FeatureBank:
    from dsa_env.from_arrays import ArrayFiles, bank_from_files

    files = ArrayFiles(
        *paths, prototypes=own["fine_from"], fine=own["fine_array"], regions=own["regions_array"]
    )
    return bank_from_files(
        files, out, temperature=temperature, seed=seed, command=command, fine_variant=fine,
        gallery_size=gallery_size,
    )  # fmt: skip


def _from_dataset(
    name: str,
    root: Path | None,
    options: Any,
    counts: dict[str, int],
    out: Path,
    settings: BuildSettings,
    *,
    workers: int | None,
    engine: str,
    **more: Any,
) -> FeatureBank:
    """Reads or draws the pictures and builds their bank; what is wrong shows before any work."""
    from dsa_env.build import build_bank, load_models
    from dsa_env.datasets.registry import DATASETS, read_dataset
    from dsa_env.extraction.engines import check_engine

    check_engine(engine, workers)
    if name != "scenes" and root is None:
        raise DSAError(f"--dataset {name} needs --root; it must hold {DATASETS[name].files}")
    if root is None or name == "scenes":
        models = load_models(settings)
        data = _draw(root or out.parent / f"{out.name}-scenes", options, counts, workers)
    else:
        data = read_dataset(name, root, options)
        models = load_models(settings)
    return build_bank(data, out, settings, workers=workers, engine=engine, models=models, **more)


def _draw(root: Path, options: Any, counts: dict[str, int], workers: int | None) -> Dataset:
    from dataclasses import replace

    from dsa_env.datasets.clevr import draw_world
    from dsa_env.datasets.problems import Problems

    if options.limit is not None:
        counts = {split: min(count, options.limit) for split, count in counts.items()}
    data = draw_world(root, counts, captions=options.captions, seed=options.seed, workers=workers)
    return replace(data, problems=Problems(options.on_bad))


def _train_hallucination(bank: FeatureBank, seed: int) -> dict[str, Any] | None:
    """Trains the network where the bank has facts; says so where they cannot teach it anything."""
    from dsa_env.build import add_hallucination_detector

    try:
        return add_hallucination_detector(bank, seed=seed)
    except DSAError as error:
        typer.echo(f"warning: no hallucination network: {error}", err=True)
        return None


def _tell(bank: FeatureBank, out: Path, report: dict[str, Any] | None, as_json: bool) -> None:
    """What was built: one line, or one JSON document; what was left out on standard error."""
    provenance = bank.manifest.get("provenance", {})
    about = provenance.get("dataset") or {}
    for name in ("split", "left out", "empty"):
        found = about.get(name)
        if isinstance(found, dict):
            found = ", ".join(f"{count} {what}" for what, count in found.items())
        if found:
            typer.echo(f"{name}: {found}", err=True)
    problems = provenance.get("problems") or {"counts": {}, "lines": []}
    for line in problems["lines"]:
        typer.echo(line, err=True)
    if any(problems["counts"].values()):
        typer.echo(f"the complete list: {out / 'problems.json'}", err=True)
    summary = {
        "bank": str(out),
        "images": bank.n_images,
        "texts": bank.n_texts,
        "dim": bank.dim,
        "sha256": bank.sha256,
        "problems": problems["counts"],
        "precision": provenance.get("precision"),
        "hallucination": report,
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(
            f"{bank.path}: {bank.n_images} images, {bank.n_texts} texts, {bank.dim} features"
        )


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
    """Train the embedded encoder, detector and captioner from scratch."""
    from dsa_env.pretrain.recipe import pretrain as run

    report = run(out, world or out.parent / f"{out.name}-world", seed=seed, quick=quick)
    typer.echo(json.dumps(report, indent=None if as_json else 2))
