"""A folder of questions of any known format, matched to a bank's pictures and its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.vqa.asked import Asked, keep_known, read_clevr
from dsa_env.vqa.tensors import Ints, Pictures, QuestionSet, Vocabulary, encode_questions
from dsa_env.vqa.vqav2 import read_vqav2

if TYPE_CHECKING:
    from dsa_env.encoders.protocol import FrozenEncoder

SPLITS = ("train", "validation", "test")
_LAYOUT = (
    "questions/CLEVR_*_questions.json of CLEVR v1.0, or VQAv2's v2_*_questions.json with its "
    "v2_*_annotations.json"
)


@dataclass(frozen=True)
class VQAData:
    """What a model learns from and is judged on.

    Attributes:
        pictures: the bank's views.
        train: questions to learn from.
        validation: questions to stop by.
        test: questions to be judged on.
        vocabulary: of the training questions.
    """

    pictures: Pictures
    train: QuestionSet
    validation: QuestionSet
    test: QuestionSet
    vocabulary: Vocabulary


def read_folder(folder: Path) -> list[Asked]:
    """All answered questions of a folder: CLEVR v1.0's, or VQAv2's.

    Raises:
        DSAError: when the folder holds neither, or their files are malformed.
    """
    root = Path(folder)
    places = (root / "questions", root)
    clevr = [file for place in places for file in sorted(place.glob("CLEVR_*_questions.json"))]
    if clevr:
        names = dict.fromkeys(file.name.split("_")[1] for file in clevr)
        found: list[Asked] = []
        for name in names:
            if name != "test" or len(names) == 1 or _has_answers(root):
                found += read_clevr(root, name)
        return found
    vqa = sorted(root.glob("v2_*_questions.json"))
    if not vqa:
        raise DSAError(f"{root} holds no questions; expected are {_LAYOUT}.")
    found = []
    for questions in vqa:
        # v2_OpenEnded_mscoco_val2014_questions.json and v2_mscoco_val2014_annotations.json
        part = questions.name.removesuffix("_questions.json").split("_")[-1]
        annotations = sorted(root.glob(f"v2_*_{part}_annotations.json"))
        if annotations:
            found += read_vqav2(questions, annotations[0])
    if not found:
        raise DSAError(f"{root} holds VQAv2's questions but no annotations; expected: {_LAYOUT}.")
    return found


def _has_answers(root: Path) -> bool:
    """Whether the test questions come with answers, as the original's do not."""
    try:
        return bool(read_clevr(root, "test", limit=1))
    except DSAError:
        return False


def make_data(
    bank: FeatureBank,
    asked: Sequence[Asked],
    encoder: FrozenEncoder,
    *,
    images: int | None = None,
    seed: int = 0,
) -> VQAData:
    """Questions split as the bank splits their pictures, encoded by its text encoder.

    Args:
        bank: holds the pictures.
        asked: questions about them; those about other pictures are left out.
        encoder: the frozen text encoder.
        images: pictures of the train split at most, and proportionally many of the others, drawn
            from `seed`; None for all.
        seed: of the drawn pictures.

    Raises:
        DSAError: when the bank holds none of the pictures, or a split is without questions.
    """
    known, ids = keep_known(bank, asked)
    chosen = {split: _pictures_of(bank, ids, split) for split in SPLITS}
    if images is not None:
        share = min(1.0, images / max(len(chosen["train"]), 1))
        rng = np.random.default_rng(seed)
        for split, own in chosen.items():
            size = max(1, round(share * len(own)))
            chosen[split] = np.sort(rng.permutation(own)[:size])
    parts: dict[str, tuple[list[Asked], Ints]] = {}
    for split, own in chosen.items():
        rows = np.flatnonzero(np.isin(ids, own))
        if not len(rows):
            raise DSAError(
                f"No question is about a picture of the bank's split {split!r}; give questions "
                "about pictures of all three splits."
            )
        parts[split] = [known[row] for row in rows.tolist()], ids[rows]
    vocabulary = Vocabulary.of(parts["train"][0])
    families = sorted({one.family for one in known})
    sets = {
        split: encode_questions(own, own_ids, vocabulary, encoder, families)
        for split, (own, own_ids) in parts.items()
    }
    return VQAData(Pictures(bank), sets["train"], sets["validation"], sets["test"], vocabulary)


def _pictures_of(bank: FeatureBank, ids: Ints, split: str) -> Ints:
    return np.intersect1d(ids, bank.split_images(split))
