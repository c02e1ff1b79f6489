"""Labels are audited on the scenes behind them, and a wrong label is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.datasets.captions import true_facts, write_captions
from dsa_env.datasets.clevr import captions_file, coco_captions, scenes_file
from dsa_env.datasets.scenes import generate_scene
from dsa_env.errors import DSAError
from dsa_env.files import write_json
from dsa_env.logic.audit import GROUPS, audit, meaning
from dsa_env.logic.labels import Labels, read_labels

SCENES = [generate_scene(index, "test") for index in range(12)]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder of scenes as CLEVR v1.0 has it, without captions."""
    write_json(scenes_file(tmp_path, "test"), {"scenes": SCENES})
    return tmp_path


@pytest.fixture
def bank(world: Path) -> Path:
    """A bank of the same scenes, with two captions each."""
    captions = [(i, c) for i, s in enumerate(SCENES) for c in write_captions(s, 2)]
    facts = sorted(set().union(*map(true_facts, SCENES)))
    number = {fact: i for i, fact in enumerate(facts)}
    rng = np.random.default_rng(0)
    FeatureBank.from_arrays(
        rng.normal(size=(len(captions), 4)),
        rng.normal(size=(len(SCENES), 4)),
        rng.normal(size=(len(SCENES), 4)),
        positives=[[i] for i, _ in captions],
        texts=[c.text for _, c in captions],
        image_files=[world / "images" / "test" / s["image_filename"] for s in SCENES],
        facts={
            "features": rng.normal(size=(len(facts), 4)),
            "names": facts,
            "text": [[number[f] for f in c.facts] for _, c in captions],
            "image": [[number[f] for f in sorted(true_facts(s))] for s in SCENES],
        },
        path=world / "bank",
    )
    return world / "bank"


@pytest.mark.parametrize("source", ["folder", "bank"])
def test_true_labels_are_confirmed_by_every_engine(source: str, world: Path, bank: Path) -> None:
    pytest.importorskip("z3", reason="the extra `logic` is not installed")
    labels = read_labels(str(world if source == "folder" else bank))
    found = audit(labels, 10, with_lean=False)
    assert found.captions == 10
    assert found.disagreements == ()
    assert found.labels == found.executor == found.z3
    assert set(found.labels) == set(GROUPS)
    assert min(found.labels["asserted"], found.labels["negative"]) >= 10
    assert found.lean is None
    assert found.lean_reason == "it was not asked to"


def wrongly(labels: Labels, extra: str) -> Labels:
    return replace(labels, holding=lambda picture: {*labels.holding(picture), extra})


def test_a_wrong_label_is_found_and_named(world: Path) -> None:
    labels = read_labels(str(world))
    picture = labels.captions[0][1]
    lie = next(f for f in labels.facts if f not in labels.holding(picture))
    told = replace(labels, captions=[("", picture, (lie,))], pictures=[picture])
    found = audit(told, 1, with_lean=False)
    (wrong,) = [d for d in found.disagreements if d.label.group == "asserted"]
    assert (wrong.label.fact, wrong.label.value, wrong.executor) == (lie, True, False)


def test_the_same_seed_draws_the_same_labels(world: Path) -> None:
    labels = read_labels(str(world))
    assert audit(labels, 5, seed=3, with_lean=False) == audit(labels, 5, seed=3, with_lean=False)


def test_captions_beside_the_scenes_are_read(world: Path) -> None:
    write_json(captions_file(world, "test"), coco_captions(SCENES, 3, seed=5))
    assert len(read_labels(str(world)).captions) == 3 * len(SCENES)


def test_scenes_elsewhere_are_named(bank: Path, tmp_path: Path) -> None:
    file = scenes_file(tmp_path, "test")
    moved = tmp_path.parent / f"{tmp_path.name}.scenes.json"
    file.rename(moved)
    labels = read_labels(str(bank))
    with pytest.raises(DSAError, match=r"No \*_scenes\.json is found .* --scenes"):
        audit(labels, 2, with_lean=False)
    assert audit(read_labels(str(bank), moved), 2, with_lean=False).captions == 2


def test_what_is_no_label_of_a_scene_is_named(world: Path) -> None:
    with pytest.raises(DSAError, match="sample must be at least 1"):
        audit(read_labels(str(world)), 0)
    with pytest.raises(DSAError, match="does not exist"):
        read_labels(str(world / "nowhere"))
    with pytest.raises(DSAError, match="'a dog' is not about a scene graph"):
        meaning("a dog")
