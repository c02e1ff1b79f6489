"""The detector on banks: probabilities, severity, saving, loading, and clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.hallucination.detector import DetectorConfig, HallucinationDetector, rows_of

DIM = 16  # of the synthetic bank


@pytest.fixture(scope="module")
def detector() -> HallucinationDetector:
    """An untrained one, with a temperature."""
    torch.manual_seed(0)
    made = HallucinationDetector(DetectorConfig(DIM, DIM, width=16, heads=3, hidden=24))
    made.temperature.fill_(0.5)
    return made.eval()


def some_pairs(bank: FeatureBank, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    assert bank.fact_features is not None
    rng = np.random.default_rng(0)
    return rng.integers(len(bank.fact_features), size=n), rng.integers(bank.n_images, size=n)


def test_probabilities_do_not_depend_on_what_is_asked_with_them(
    synthetic_bank: FeatureBank, detector: HallucinationDetector
) -> None:
    facts, images = some_pairs(synthetic_bank)
    together = detector.probability(synthetic_bank, facts, images)
    alone = [
        detector.probability(synthetic_bank, facts[i : i + 1], images[i : i + 1])[0]
        for i in range(40)
    ]
    assert together.dtype == np.float32
    assert together.std() > 0
    assert ((together >= 0) & (together <= 1)).all()
    np.testing.assert_allclose(together[:40], alone, atol=1e-6)


def test_pairs_asked_twice_are_scored_once_and_alike(
    synthetic_bank: FeatureBank, detector: HallucinationDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, images = some_pairs(synthetic_bank, 50)
    once = detector.probability(synthetic_bank, facts, images)
    scored = 0
    inner = HallucinationDetector._score_sorted

    def counting(self: HallucinationDetector, bank: Any, fact: Any, image: Any) -> Any:
        nonlocal scored
        scored += len(fact)
        return inner(self, bank, fact, image)

    monkeypatch.setattr(HallucinationDetector, "_score_sorted", counting)
    thrice = detector.probability(synthetic_bank, np.tile(facts, 3), np.tile(images, 3))
    np.testing.assert_array_equal(thrice, np.tile(once, 3))
    assert scored == len(np.unique(np.stack([facts, images]), axis=1).T)


def test_many_pairs_take_several_passes(
    synthetic_bank: FeatureBank, detector: HallucinationDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, images = some_pairs(synthetic_bank, 700)
    whole = detector.probability(synthetic_bank, facts, images)
    monkeypatch.setattr("dsa_env.hallucination.detector.BLOCK", 64)
    monkeypatch.setattr("dsa_env.hallucination.detector.WORKING_SET", 500)
    cut = detector.probability(synthetic_bank, facts, images)
    np.testing.assert_allclose(cut, whole, atol=1e-6)


def test_the_temperature_divides_the_logits(
    synthetic_bank: FeatureBank, detector: HallucinationDetector
) -> None:
    facts, images = some_pairs(synthetic_bank)
    logits = detector.logits(synthetic_bank, facts, images)
    expected = 1 / (1 + np.exp(-logits / 0.5))
    np.testing.assert_allclose(
        detector.probability(synthetic_bank, facts, images), expected, atol=1e-6
    )


def test_severity_is_the_mean_of_what_is_not_supported(
    synthetic_bank: FeatureBank, detector: HallucinationDetector
) -> None:
    assert synthetic_bank.text_facts is not None
    rng = np.random.default_rng(0)
    texts = rng.integers(synthetic_bank.n_texts, size=60)
    images = rng.integers(synthetic_bank.n_images, size=60)
    severity = detector.severity(synthetic_bank, texts, images)
    for text, image, found in zip(texts, images, severity, strict=True):
        facts = synthetic_bank.text_facts.row(int(text))
        probability = detector.probability(synthetic_bank, facts, np.full(len(facts), image))
        assert found == pytest.approx(float(np.mean(1 - probability)), abs=1e-5)
    assert ((severity >= 0) & (severity <= 1)).all()


def test_a_text_that_asserts_nothing_has_no_severity(detector: HallucinationDetector) -> None:
    features = np.random.default_rng(0).normal(size=(3, DIM))
    facts = {"features": features, "text": [[0, 1], [], [2]], "image": [[0], [1], [2]]}
    bank = FeatureBank.from_arrays(features, features, fine=features, facts=facts)
    severity = detector.severity(bank, [0, 1, 2], [1, 1, 1])
    assert severity[1] == 0
    assert (severity[[0, 2]] > 0).all()
    assert detector.severity(bank, [1], [0]).tolist() == [0]


def test_no_pairs_give_no_values(
    synthetic_bank: FeatureBank, detector: HallucinationDetector
) -> None:
    for values in (
        detector.probability(synthetic_bank, [], []),
        detector.severity(synthetic_bank, [], []),
    ):
        assert values.shape == (0,)
        assert values.dtype == np.float32


def test_regions_without_boxes_are_judged_by_what_they_show(
    synthetic_bank: FeatureBank, detector: HallucinationDetector
) -> None:
    bank = FeatureBank.from_arrays(
        synthetic_bank.text_features,
        synthetic_bank.image_coarse,
        regions=synthetic_bank.image_regions,
        region_counts=synthetic_bank.region_counts,
        positives=synthetic_bank.positives,
        facts={
            "features": synthetic_bank.fact_features,
            "text": synthetic_bank.text_facts,
            "image": synthetic_bank.image_facts,
        },
    )
    facts, images = some_pairs(bank)
    without = detector.probability(bank, facts, images)
    assert without.std() > 0
    assert not np.allclose(without, detector.probability(synthetic_bank, facts, images))


def test_a_saved_detector_says_the_same(
    synthetic_bank: FeatureBank, detector: HallucinationDetector, tmp_path: Path
) -> None:
    facts, images = some_pairs(synthetic_bank)
    detector.save_pretrained(tmp_path / "new", {"overall": {"auroc": 0.93}})
    loaded = HallucinationDetector.from_pretrained(tmp_path / "new")
    assert loaded.config == detector.config
    assert not loaded.training
    np.testing.assert_array_equal(
        loaded.probability(synthetic_bank, facts, images),
        detector.probability(synthetic_bank, facts, images),
    )
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "config.json",
        "model.safetensors",
        "report.json",
    ]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "of another detector"])
def test_damaged_files_are_named(
    detector: HallucinationDetector, tmp_path: Path, name: str, damage: str
) -> None:
    detector.save_pretrained(tmp_path / "good")
    HallucinationDetector(DetectorConfig(DIM, DIM, width=8)).save_pretrained(tmp_path / "other")
    file = tmp_path / "good" / name
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(DSAError) as error:
        HallucinationDetector.from_pretrained(tmp_path / "good")
    assert str(tmp_path / "good") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"width": "wide"}, {"heads": True}, {"depth": 3}, {"heads": None}]
)
def test_a_wrong_configuration_is_refused(
    detector: HallucinationDetector, tmp_path: Path, change: dict[str, Any]
) -> None:
    detector.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DSAError, match="detector"):
        HallucinationDetector.from_pretrained(tmp_path)


def test_a_bank_of_another_encoder_is_refused(synthetic_bank: FeatureBank) -> None:
    other = HallucinationDetector(DetectorConfig(DIM, DIM + 1))
    with pytest.raises(DSAError, match=r"trained on 16 and 17; use the bank's own detector"):
        other.probability(synthetic_bank, [0], [0])


def test_a_bank_without_facts_is_refused(detector: HallucinationDetector) -> None:
    features = np.random.default_rng(0).normal(size=(4, DIM))
    bank = FeatureBank.from_arrays(features, features, fine=features)
    for ask in (detector.probability, detector.severity):
        with pytest.raises(DSAError, match="holds no facts"):
            ask(bank, [0], [0])


@pytest.mark.parametrize(
    ("first", "images", "message"),
    [
        ([0, 1], [0], "come in pairs, got 2 and 1"),
        ([-1], [0], r"must lie in 0\.\."),
        ([0], [10_000], "image ids must lie in"),
        ([0.5], [0], "flat array of integers"),
        ([[0]], [[0]], "flat array of integers"),
    ],
)
def test_wrong_ids_are_refused(
    synthetic_bank: FeatureBank,
    detector: HallucinationDetector,
    first: list[Any],
    images: list[Any],
    message: str,
) -> None:
    for ask in (detector.probability, detector.severity):
        with pytest.raises(DSAError, match=message):
            ask(synthetic_bank, first, images)


def test_rows_hold_every_pair_once_and_one_image_each() -> None:
    images = np.repeat([3, 4, 9], [5, 1, 12])
    unique, image_of_row, slot, width = rows_of(images, 4)
    assert unique.tolist() == [3, 4, 9]
    assert width == 4
    assert image_of_row.tolist() == [0, 0, 1, 2, 2, 2]
    assert len(set(slot.tolist())) == len(images)
    np.testing.assert_array_equal(unique[image_of_row[slot // width]], images)
