"""From a bank and an alignment to an aligned bank, in blocks; interrupted, it goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dsa_env.alignment.matrix import REPORT, WEIGHTS, AlignmentConfig, AlignmentMatrix
from dsa_env.alignment.pairs import TEXT, Pairs
from dsa_env.alignment.training import AlignmentSettings, train_alignment
from dsa_env.bank import FeatureBank
from dsa_env.bank.writer import BankWriter
from dsa_env.build import add_hallucination_detector, lacks_hallucination_detector
from dsa_env.errors import DSAError
from dsa_env.files import read_json, sha256_file
from dsa_env.retrieval.severity import DETECTOR_FOLDER

ALIGNMENT_FOLDER = "alignment"
"""Where an aligned bank's folder holds the matrix that made it."""
CHECKPOINT = ".checkpoint.safetensors"
"""Ends the name of the file, beside the bank's folder, that an interrupted training leaves."""
BLOCK = 4096
"""Vectors that are projected at a time."""
FEATURES = ("text_features", "image_coarse", "image_fine", "image_regions")

Array = NDArray[Any]


def align_bank(
    bank: FeatureBank,
    out: Path,
    *,
    settings: AlignmentSettings | None = None,
    form: Mapping[str, Any] | None = None,
    seed: int = 0,
    resume: bool = False,
    command: str | None = None,
    progress: bool = True,
) -> tuple[FeatureBank, dict[str, Any]]:
    """Train an alignment on a bank's train split and write the bank in the shared space.

    Early stopping looks at the validation split. Every feature of the new bank is the source's,
    aligned and of length 1: texts and facts through the text's side, the coarse view and the fine
    one (regions one by one, so regions stay regions) through the visual side. Everything else is
    the source's, but for the hallucination detection network, which reads features and so is
    trained again. The matrix lies in the bank's folder ``alignment``, for new texts and pictures.

    Args:
        bank: the source.
        out: folder of the aligned bank; must not exist, unless `resume` finds it finished.
        settings: how the matrix is trained.
        form: options of `AlignmentConfig` beside the widths: init, rank, separate, project, dim.
        seed: of everything.
        resume: go on with what an interrupted call with the same arguments left.
        command: the command line that asked for it, kept in the manifest.
        progress: show progress bars on standard error.

    Returns:
        The aligned bank, and the training's report (see `train_alignment`) with one more entry,
        "hallucination": the new network's report, {"error": why there is none} where the facts
        cannot teach it anything, or None for a bank without facts.

    Raises:
        DSAError: `out` exists, an unfinished alignment lies there and `resume` is False, or the
            bank is damaged or has nothing to learn from.
    """
    out = Path(out).absolute()
    checkpoint = out.with_name(f"{out.name}{CHECKPOINT}")
    settings = settings or AlignmentSettings()
    train, validation = (Pairs.from_bank(bank, split) for split in ("train", "validation"))
    config = AlignmentConfig(*train.widths, **(form or {}))
    if out.exists():
        made = {"config": config.to_json(), "settings": asdict(settings), "seed": seed}
        aligned = _finished(bank, out, made if resume else None)
    else:
        if checkpoint.exists() and not resume:
            raise DSAError(
                f"{checkpoint} is an unfinished alignment; go on with --resume, or delete it to "
                "start anew."
            )
        bank.verify()
        matrix, trained = train_alignment(
            train,
            validation,
            config,
            settings,
            seed=seed,
            data=bank.sha256,
            checkpoint=checkpoint,
            progress=progress,
        )
        aligned = write_aligned(bank, out, matrix, trained, command)
    checkpoint.unlink(missing_ok=True)
    report = read_json(out / ALIGNMENT_FOLDER / REPORT)
    return aligned, {**report, "hallucination": _judge(aligned, seed)}


def write_aligned(
    bank: FeatureBank,
    out: Path,
    matrix: AlignmentMatrix,
    report: Mapping[str, Any],
    command: str | None = None,
) -> FeatureBank:
    """Write a bank's aligned twin to a new folder, block by block, with the matrix beside it.

    Its provenance names the source: path, hash and provenance of its own.

    Raises:
        BankError: the folder exists.
        DSAError: the matrix was made for features of another width.
    """
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        name: ((*bank.arrays[name].shape[:-1], matrix.config.dim), "float32")
        for name in FEATURES
        if name in bank.arrays
    }
    for name in ("region_counts", "region_boxes"):
        if name in bank.arrays:
            array = bank.arrays[name]
            shapes[name] = (array.shape, "int16" if name == "region_counts" else "float32")
    aligned_with = {"source": bank.sha256, "matrix": _digest(matrix)}
    writer = BankWriter(out, shapes, aligned_with)
    for name, (shape, _) in shapes.items():
        done = writer.done(name)
        for part in _blocks(shape, done):
            writer.write(name, part.start, _aligned_rows(bank, matrix, name, part))
    matrix.save_pretrained(writer.partial / ALIGNMENT_FOLDER, report)
    weights = sha256_file(writer.partial / ALIGNMENT_FOLDER / WEIGHTS)
    provenance = dict(bank.manifest.get("provenance", {}))
    provenance["command"] = command
    provenance["alignment"] = {
        "source": {
            "path": str(bank.path) if bank.path else None,
            "sha256": bank.sha256,
            "command": bank.manifest.get("provenance", {}).get("command"),
            "alignment": bank.manifest.get("provenance", {}).get("alignment"),
        },
        "matrix": {"folder": ALIGNMENT_FOLDER, "sha256": weights},
        **{name: report.get(name) for name in ("config", "settings", "seed", "best_epoch")},
    }
    return writer.finish(**_details(bank, matrix, out), provenance=provenance)


def align_features(matrix: AlignmentMatrix, features: Array, modality: str) -> NDArray[np.float64]:
    """Rows [..., D] in the shared space, unit length, in float64; zero rows stay zeros."""
    with torch.no_grad():
        rows = torch.from_numpy(np.array(features, dtype=np.float32))
        moved = matrix(rows, modality).double().numpy()
    length = np.linalg.norm(moved, axis=-1, keepdims=True)
    padding = ~np.any(np.asarray(features) != 0, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = np.where(padding, 0.0, moved / np.where(length == 0, 1.0, length))
    return unit


def _aligned_rows(bank: FeatureBank, matrix: AlignmentMatrix, name: str, part: slice) -> Array:
    rows = np.asarray(bank.arrays[name][part])
    modality = {"text_features": TEXT, "image_coarse": "coarse"}.get(name, "fine")
    return align_features(matrix, rows, modality) if name in FEATURES else rows


def _details(bank: FeatureBank, matrix: AlignmentMatrix, out: Path) -> dict[str, Any]:
    """What a bank holds beside its views, as `BankWriter.finish` takes it."""
    root = bank.manifest.get("image_root")
    if root is not None and bank.path is not None and not os.path.isabs(root):
        root = os.path.relpath((bank.path / root).resolve(), out)
    facts = None
    if bank.fact_features is not None:
        facts = {
            "features": align_features(matrix, bank.fact_features, TEXT),
            "text": bank.text_facts,
            "image": bank.image_facts,
            "names": bank.facts,
            "kinds": _names(bank.fact_kinds, bank.fact_kind),
        }
    return {
        "positives": bank.positives,
        "splits": np.asarray(bank.image_split),
        "kinds": _names(bank.kinds, bank.text_kind),
        "facts": facts,
        "severity": bank.severity,
        "texts": bank.texts,
        "image_files": bank.image_files,
        "image_root": root,
        "fine_variant": bank.fine if bank.fine != "given" else "attended",
        "temperature": bank.temperature,
        "gallery_size": bank.gallery_size,
    }


def _names(names: tuple[str, ...], codes: Array | None) -> list[str] | None:
    return None if codes is None else [names[code] for code in codes]


def _blocks(shape: tuple[int, ...], done: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, int(np.prod(shape[1:-1], dtype=np.int64))))
    for start in range(done, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _digest(matrix: AlignmentMatrix) -> str:
    """One hash of a matrix's form and numbers."""
    from hashlib import sha256

    digest = sha256(repr(sorted(matrix.config.to_json().items())).encode())
    for name, value in matrix.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _finished(bank: FeatureBank, out: Path, made: dict[str, Any] | None) -> FeatureBank:
    """The aligned bank that lies there already, if it is the one that would be made."""
    if made is not None:
        aligned = FeatureBank.open(out)
        found = aligned.manifest.get("provenance", {}).get("alignment") or {}
        same = {name: found.get(name) for name in made} == json.loads(json.dumps(made))
        if same and found.get("source", {}).get("sha256") == bank.sha256:
            return aligned
    raise DSAError(f"{out} exists; choose another --out or remove it.")


def _judge(aligned: FeatureBank, seed: int) -> dict[str, Any] | None:
    """The hallucination network's report; the network is trained where it is still missing."""
    if aligned.text_facts is None:
        return None
    if not lacks_hallucination_detector(aligned):
        found: dict[str, Any] = read_json(aligned.path / DETECTOR_FOLDER / "report.json")  # type: ignore[operator]
        return found
    try:
        return add_hallucination_detector(aligned, seed=seed)
    except DSAError as error:
        return {"error": str(error)}
