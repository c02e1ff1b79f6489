"""Tests of aligned banks: whole, playable, traceable, and better where features were garbled."""

import gymnasium as gym
import numpy as np
import pytest

from dsa_env import testing
from dsa_env.alignment import AlignmentConfig, AlignmentMatrix
from dsa_env.alignment import training as training_module
from dsa_env.alignment.aligned_bank import CHECKPOINT, align_bank, align_features, write_aligned
from dsa_env.alignment.matrix import WEIGHTS
from dsa_env.alignment.pairs import Pairs
from dsa_env.alignment.training import AlignmentSettings
from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.files import read_json, sha256_file
from tests.dsa_env.alignment.worlds import garbled

QUICK = AlignmentSettings(epochs=2)
PLAIN = AlignmentConfig({"coarse": 16, "fine": 16}, {"text": 16}, init="identity")


@pytest.fixture(scope="module")
def source(synthetic_bank_path):
    return FeatureBank.open(synthetic_bank_path)


@pytest.fixture(scope="module")
def aligned(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("aligned") / "bank"
    return align_bank(source, out, settings=QUICK, command="made here", progress=False)[0]


def quietly(bank, out, **options):
    return align_bank(bank, out, progress=False, **{"settings": QUICK, **options})


def test_it_passes_every_check_and_both_environments_take_it(aligned):
    testing.check_bank(aligned)
    for direction in ("text_to_image", "image_to_text"):
        testing.check_env(gym.make("DSA/Retrieval-v0", bank=str(aligned.path), direction=direction))


def test_features_are_the_sources_through_the_matrix_and_everything_else_is_the_sources(
    source, aligned
):
    matrix = AlignmentMatrix.from_pretrained(aligned.path / "alignment")
    sides = {
        "text_features": "text",
        "fact_features": "text",
        "image_coarse": "coarse",
        "image_regions": "fine",
    }
    for name, array in source.arrays.items():
        expected = align_features(matrix, array, sides[name]) if name in sides else array
        np.testing.assert_allclose(aligned.arrays[name], expected, atol=1e-6, err_msg=name)
    settings = ("splits", "kinds", "fact_kinds", "fine", "temperature", "gallery_size")
    assert [aligned.manifest[name] for name in settings] == [
        source.manifest[name] for name in settings
    ]
    assert aligned.texts == source.texts
    assert aligned.facts == source.facts


def test_the_manifest_leads_back_to_the_source_and_to_the_matrix(source, aligned):
    said = aligned.manifest["provenance"]
    assert said["dataset"] == source.manifest["provenance"]["dataset"]
    assert said["command"] == "made here"
    chain = said["alignment"]
    assert chain["source"]["sha256"] == source.sha256
    assert chain["source"]["path"] == str(source.path)
    weights = aligned.path / "alignment" / WEIGHTS
    assert chain["matrix"]["sha256"] == sha256_file(weights)
    assert chain["settings"]["epochs"] == 2
    report = read_json(aligned.path / "alignment" / "report.json")
    assert report["data"] == source.sha256


def test_an_aligned_bank_can_be_aligned_again_and_the_chain_grows(aligned, tmp_path):
    twice, _ = quietly(aligned, tmp_path / "twice", settings=AlignmentSettings(epochs=1))
    chain = twice.manifest["provenance"]["alignment"]["source"]
    assert chain["alignment"]["source"]["sha256"] != chain["sha256"]
    assert chain["sha256"] == aligned.sha256


def test_its_hallucination_network_was_trained_on_its_own_features(aligned):
    report = read_json(aligned.path / "hallucination" / "report.json")
    assert report["bank"] == aligned.sha256


@pytest.mark.parametrize("kind", ["regions", "fine", "memory", "mean"])
def test_the_identity_gives_the_same_bank(kind, tmp_path):
    bank = testing.synthetic_bank(40, path=None if kind == "memory" else tmp_path / "source")
    if kind in ("fine", "mean"):
        fine = {"fine": bank.fine_features(np.arange(40))}
        regions = {
            "regions": bank.image_regions,
            "region_counts": bank.region_counts,
            "fine_variant": "mean",
        }
        bank = FeatureBank.from_arrays(
            bank.text_features,
            bank.image_coarse,
            positives=bank.positives,
            gallery_size=10,
            image_files=[f"{n}.png" for n in range(40)],
            path=tmp_path / "made",
            **(fine if kind == "fine" else regions),
        )
    same = write_aligned(bank, tmp_path / "same", AlignmentMatrix(PLAIN), {})
    same.verify()
    assert same.arrays.keys() == bank.arrays.keys()
    for name, array in bank.arrays.items():
        np.testing.assert_allclose(same.arrays[name], array, atol=1e-6, err_msg=name)
    assert (same.fine, same.image_files, same.gallery_size) == (
        bank.fine,
        bank.image_files,
        bank.gallery_size,
    )


def test_pictures_are_found_from_the_new_place(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").touch()
    bank = testing.synthetic_bank(12)
    made = FeatureBank.from_arrays(
        bank.text_features,
        bank.image_coarse,
        bank.fine_features(np.arange(12)),
        positives=bank.positives,
        image_files=[str(tmp_path / "pictures" / f"{n}.png") for n in range(12)],
        path=tmp_path / "a" / "bank",
    )
    out = tmp_path / "b" / "deep" / "er"
    assert write_aligned(made, out, AlignmentMatrix(PLAIN), {}).image_path(0).is_file()


def recall_of_the_coarse_view(bank):
    core = RetrievalCore(bank, "text_to_image", "test")
    query = np.arange(core.n_queries)
    return core.outcome(query, np.zeros(len(query), np.float32)).recall.mean()


def test_garbled_coarse_features_become_useful(tmp_path):
    """As with an early layer's features: another space of the same width."""
    bank = garbled(testing.synthetic_bank(600, captions=2))
    settings = AlignmentSettings(epochs=25, rest_lr=1e-2)
    better, _ = quietly(bank, tmp_path / "better", settings=settings, form={"project": "visual"})
    before, after = (recall_of_the_coarse_view(one) for one in (bank, better))
    assert before < 0.2
    assert after > before + 0.2


def test_an_interrupted_alignment_goes_on_and_ends_the_same(source, aligned, tmp_path, monkeypatch):
    out, real, calls = tmp_path / "bank", training_module._validate, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training_module, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quietly(source, out)
    monkeypatch.setattr(training_module, "_validate", real)
    assert out.with_name(f"bank{CHECKPOINT}").is_file()
    with pytest.raises(DSAError, match="is an unfinished alignment; go on with --resume"):
        quietly(source, out)
    with pytest.raises(DSAError, match="other config"):
        quietly(source, out, resume=True, form={"rank": 2})
    for moment in ("_details", "add_hallucination_detector"):  # writing, judging
        monkeypatch.setattr(f"dsa_env.alignment.aligned_bank.{moment}", stop)
        with pytest.raises(KeyboardInterrupt):
            quietly(source, out, resume=True)
        monkeypatch.undo()
    again, _ = quietly(source, out, resume=True)
    assert again.sha256 == aligned.sha256
    assert (out / "hallucination").is_dir()
    assert [file.name for file in tmp_path.iterdir()] == ["bank"]
    quietly(source, out, resume=True)  # nothing left to do
    for other in ({"seed": 1}, {"form": {"rank": 2}}, {"settings": AlignmentSettings(epochs=3)}):
        with pytest.raises(DSAError, match="exists; choose another --out"):
            quietly(source, out, resume=True, **other)
    with pytest.raises(DSAError, match="exists; choose another --out"):
        quietly(source, out)


def stop(*_, **__):
    raise KeyboardInterrupt


def test_a_bank_without_validation_or_with_one_picture_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    text, coarse, fine = (rng.standard_normal((6, 4)) for _ in range(3))
    for splits, message in (
        (["train"] * 6, "split 'validation' has no texts"),
        (["validation"] * 6, "split 'train' has no texts"),
        (["train"] * 5 + ["validation"], "there is 1 image with a text"),
    ):
        bank = FeatureBank.from_arrays(text, coarse, fine, splits=splits)
        with pytest.raises(DSAError, match=message):
            quietly(bank, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_matrix_for_other_widths_is_refused(tmp_path):
    narrow = AlignmentMatrix(AlignmentConfig({"coarse": 8, "fine": 8}, {"text": 8}))
    with pytest.raises(DSAError, match="text features have width 16"):
        write_aligned(testing.synthetic_bank(12), tmp_path / "out", narrow, {})


def test_a_bank_without_facts_needs_no_hallucination_network(tmp_path):
    bank = testing.synthetic_bank(60, facts=False)
    made, _ = quietly(bank, tmp_path / "out", settings=AlignmentSettings(epochs=1))
    assert not (made.path / "hallucination").exists()
    np.testing.assert_array_equal(made.severity, bank.severity)
    assert Pairs.from_bank(made, "train").attended


def test_a_damaged_bank_is_refused_before_any_training(tmp_path):
    bank = testing.synthetic_bank(40, path=tmp_path / "bank")
    file = bank.path / "text_features.npy"
    rows = np.load(file)
    rows[[3, 5]] = rows[[5, 3]]  # as it opens, nothing seems wrong
    np.save(file, rows)
    with pytest.raises(DSAError, match=r"text_features\.npy.*restore it or build the bank again"):
        quietly(FeatureBank.open(bank.path), tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank"]
