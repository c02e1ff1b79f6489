"""Training on a planted world: scenes, objects and relations are told from what is not there."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.hallucination import DetectorConfig, HallucinationDetector
from dsa_env.hallucination.pope_sampling import QuestionSampler
from dsa_env.hallucination.report import fit_temperature, measure
from dsa_env.hallucination.training import train_detector

DIM, MOST, FLOORS, COLOURS, SHAPES = 32, 4, 4, 4, 2
THINGS = COLOURS * SHAPES
SCENE, COLOURED, FULL, RELATION = np.cumsum([0, FLOORS, COLOURS, THINGS])  # first fact of each sort
KINDS = ["scene"] * FLOORS + ["object"] * (COLOURS + THINGS) + ["relation"] * (2 * THINGS**2)


def planted_bank(n: int, **options: Any) -> FeatureBank:
    """Pictures of coloured shapes on a floor; captions tell of floors, objects and relations.

    A region is its colour's plus its shape's vector, with noise; the phrase "a left of b" is a's
    vector turned one way, plus b's turned another way, plus one for "left of".
    """
    rng = np.random.default_rng(7)
    floors, colours, shapes = (rng.normal(size=(k, DIM)) for k in (FLOORS, COLOURS, SHAPES))
    turn_a, turn_b = (np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] for _ in range(2))
    sides = 2 * rng.normal(size=(2, DIM))
    things = (colours[:, None] + shapes).reshape(THINGS, DIM)
    pairs = [(s, a, b) for s, a, b in product(range(2), range(THINGS), range(THINGS))]
    relations = [things[a] @ turn_a + things[b] @ turn_b + sides[s] for s, a, b in pairs]
    floor, counts = rng.integers(FLOORS, size=n), rng.integers(2, MOST + 1, size=n)
    thing, used = rng.integers(THINGS, size=(n, MOST)), np.arange(MOST) < counts[:, None]
    centre = rng.uniform(0.1, 0.9, size=(n, MOST, 2))
    image_facts, text_facts = [], []
    for i in range(n):
        first, second = np.nonzero(~np.eye(counts[i], dtype=bool))
        right = (centre[i, first, 0] > centre[i, second, 0]).astype(int)
        told = RELATION + (right * THINGS + thing[i, first]) * THINGS + thing[i, second]
        objects = thing[i, : counts[i]]
        own = [floor[i], *(COLOURED + objects // SHAPES), *(FULL + objects), *told]
        image_facts.append(sorted(set(own)))
        text_facts += [[floor[i], FULL + objects[0]], [COLOURED + objects[1] // SHAPES, told[0]]]
    noise = rng.normal(size=(n, MOST, DIM))
    return FeatureBank.from_arrays(
        text=rng.normal(size=(2 * n, DIM)),
        coarse=floors[floor] + 0.5 * rng.normal(size=(n, DIM)),
        regions=(things[thing] + 0.5 * noise) * used[..., None],
        region_counts=counts,
        region_boxes=np.concatenate([centre, np.full_like(centre, 0.1)], axis=-1),
        positives=np.repeat(np.arange(n), 2),
        facts={
            "features": np.concatenate([floors, colours, things, relations]),
            "text": text_facts,
            "image": image_facts,
            "kinds": KINDS,
        },
        **options,
    )


@pytest.fixture(scope="module")
def world() -> FeatureBank:
    return planted_bank(1000)


SMALL = DetectorConfig(DIM, DIM, width=32, heads=4, geometry=8, hidden=96)


@pytest.fixture(scope="module")
def trained(world: FeatureBank) -> tuple[HallucinationDetector, dict[str, Any]]:
    return train_detector(world, questions=150_000, progress=False, config=SMALL)


def briefly(bank: FeatureBank, seed: int = 0) -> tuple[HallucinationDetector, dict[str, Any]]:
    return train_detector(bank, seed=seed, questions=10_000, progress=False, config=SMALL)


def test_the_planted_world_is_learnt(trained: tuple[HallucinationDetector, dict[str, Any]]) -> None:
    report = trained[1]
    assert report["split"] == "test"
    assert report["overall"]["auroc"] > 0.95
    assert report["overall"]["ece"] < 0.05
    assert report["meets_goals"]
    assert report["by_kind"]["scene"]["auroc"] > 0.95
    assert report["by_kind"]["object"]["auroc"] > 0.95
    assert report["by_kind"]["relation"]["auroc"] > 0.85
    assert min(part["auroc"] for part in report["by_negative"].values()) > 0.9


def test_the_report_is_json_and_says_what_it_was_made_from(
    world: FeatureBank, trained: tuple[HallucinationDetector, dict[str, Any]], tmp_path: Path
) -> None:
    detector, report = trained
    detector.save_pretrained(tmp_path, report)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["bank"] == world.sha256
    assert report["images"] == len(world.split_images("test"))
    assert report["training"]["images"] == len(world.split_images("train"))
    assert report["temperature"] == pytest.approx(float(detector.temperature), abs=1e-4)


def test_severity_follows_the_truth(
    world: FeatureBank, trained: tuple[HallucinationDetector, dict[str, Any]]
) -> None:
    assert world.text_facts is not None
    assert world.image_facts is not None
    rng = np.random.default_rng(0)
    texts = rng.choice(world.split_texts("test"), 2000)
    images = rng.choice(world.split_images("test"), 2000)
    asserted, held = world.text_facts.to_lists(), world.image_facts.to_lists()
    truth = [1 - np.isin(asserted[t], held[i]).mean() for t, i in zip(texts, images, strict=True)]
    severity = trained[0].severity(world, texts, images)
    assert np.corrcoef(severity, truth)[0, 1] > 0.9
    own = trained[0].severity(world, texts, world.positives.first[texts])
    assert own.mean() < 0.15 < 0.5 < severity.mean()


def test_overconfidence_is_mended_by_the_temperature(world: FeatureBank) -> None:
    detector, logits, label = briefly(world)[0], {}, {}
    for split in ("validation", "test"):
        asked = QuestionSampler(world, split).sample(40, np.random.default_rng(5))
        label[split] = asked.label
        logits[split] = 4 * detector.logits(world, asked.fact, asked.image)
    temperature = fit_temperature(label["validation"], logits["validation"])
    mended = measure(label["test"], logits["test"], temperature)
    assert temperature > 2
    assert mended["ece_uncalibrated"] > 0.1
    assert mended["ece"] < 0.5 * mended["ece_uncalibrated"]


def test_the_seed_decides_everything(world: FeatureBank) -> None:
    facts, images = np.arange(50), np.arange(50)
    state = torch.get_rng_state()
    first, again, other = (briefly(world, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.get_rng_state(), state)  # the caller's stream is left alone
    np.testing.assert_array_equal(
        first[0].probability(world, facts, images), again[0].probability(world, facts, images)
    )
    assert first[1]["overall"] == again[1]["overall"]
    assert first[1]["overall"] != other[1]["overall"]


def test_the_thread_count_is_given_back(world: FeatureBank) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    briefly(world)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_a_bank_of_training_images_alone_holds_some_of_them_out() -> None:
    bank = planted_bank(60, splits=["train"] * 60)
    report = briefly(bank)[1]
    assert report["split"] == "validation"
    assert report["training"]["images"] == 54
    assert report["images"] == 6


def test_whole_image_features_alone_suffice_for_scenes() -> None:
    regions = planted_bank(400)
    arrays = {name: getattr(regions, name) for name in ("text_features", "image_coarse")}
    assert regions.text_facts is not None
    assert regions.image_facts is not None
    bank = FeatureBank.from_arrays(
        arrays["text_features"],
        arrays["image_coarse"],
        fine=regions.fine_features(np.arange(400)),
        positives=regions.positives,
        splits=regions.image_split,
        facts={
            "features": regions.fact_features,
            "text": regions.text_facts,
            "image": regions.image_facts,
        },
    )
    detector, report = train_detector(bank, questions=40_000, progress=False, config=SMALL)
    assert set(report["by_kind"]) == {"all"}
    floor = np.tile(np.arange(FLOORS), 60)
    images = np.repeat(bank.split_images("test"), FLOORS)
    probability = detector.probability(bank, floor, images).reshape(-1, FLOORS)
    truth = [row[0] for row in regions.image_facts.take(bank.split_images("test")).to_lists()]
    assert np.mean(probability.argmax(axis=1) == truth) > 0.8


def test_a_bank_without_training_images_is_refused() -> None:
    with pytest.raises(DSAError, match="no images in split 'train'"):
        briefly(planted_bank(20, splits=["test"] * 20))


def test_a_bank_without_facts_is_refused() -> None:
    features = np.random.default_rng(0).normal(size=(20, DIM))
    with pytest.raises(DSAError, match="holds no facts"):
        briefly(FeatureBank.from_arrays(features, features, fine=features))


def test_sizes_for_other_features_are_refused(world: FeatureBank) -> None:
    with pytest.raises(DSAError, match=f"{DIM} features a fact"):
        train_detector(world, config=DetectorConfig(DIM, DIM + 1), progress=False)
