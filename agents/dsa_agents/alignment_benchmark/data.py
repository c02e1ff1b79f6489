"""Where a benchmark's questions come from: written about the bank's scenes, or given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_agents.alignment_benchmark.plan import Plan
from dsa_env.datasets.clevr import DISK_SPLITS, scenes_file
from dsa_env.errors import DSAError
from dsa_env.vqa.folder import SPLITS, VQAData, make_data, read_folder
from dsa_env.vqa.generation import write_questions

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

HELD_OUT = {"train": 1.0, "validation": 0.25, "test": 0.4}
"""Pictures of each split that are asked about, as shares of the train split's."""


def prepare(
    bank: FeatureBank, questions: Path | None, encoder: str | None, plan: Plan, out: Path
) -> tuple[VQAData, dict[str, Any]]:
    """The questions as a model takes them, and where they come from.

    Args:
        bank: holds the pictures' features.
        questions: folder of questions; None writes them about the bank's scenes, into `out`.
        encoder: the text encoder's name; None takes the bank's.
        plan: how many.
        out: the benchmark's folder.

    Raises:
        DSAError: the bank's pictures have no scenes and no questions were given, or as
            `read_folder` and `make_data` say.
    """
    from dsa_env.encoders.families import load_encoder

    written = questions is None
    source = out if questions is None else questions
    if written:
        root = scenes_root(bank)
        for split in SPLITS:
            size = None if plan.images is None else max(1, round(HELD_OUT[split] * plan.images))
            write_questions(root, split, out=out, images=size, per_image=plan.per_image)
    name = encoder or _encoder_of(bank)
    asked = read_folder(source)
    data = make_data(bank, asked, load_encoder(name), images=None if written else plan.images)
    about = {
        "from": "written about the bank's scenes" if written else str(questions),
        "encoder": name,
        "answers": len(data.vocabulary.answers),
        "program_steps": len(data.vocabulary.steps),
        "questions": {split: len(getattr(data, split)) for split in SPLITS},
        "pictures": {split: len(set(getattr(data, split).image.tolist())) for split in SPLITS},
    }
    return data, about


def scenes_root(bank: FeatureBank) -> Path:
    """The CLEVR-format folder in which a bank's pictures lie.

    Raises:
        DSAError: when there are no scene graphs beside them.
    """
    path = bank.image_path(0) if bank.n_images else None
    for root in path.resolve().parents if path is not None else ():
        if all(scenes_file(root, DISK_SPLITS[split]).is_file() for split in SPLITS):
            return root
    raise DSAError(
        "The bank's pictures have no CLEVR scenes (train, val and test) to ask about; give "
        "--questions, a folder of CLEVR's or VQAv2's questions about them."
    )


def _encoder_of(bank: FeatureBank) -> str:
    provenance = bank.manifest.get("provenance") or {}
    about = provenance.get("encoder") if isinstance(provenance, dict) else None
    name = about.get("name") if isinstance(about, dict) else None
    if not isinstance(name, str):
        raise DSAError(
            "The bank does not say which encoder made its text features; name one with --encoder."
        )
    return name
