"""The recipe end to end on a handful of pictures, and the parts it stands on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForObjectDetection

from dsa_env.errors import DSAError
from dsa_env.files import read_json
from dsa_env.pretrain import recipe
from dsa_env.pretrain.detector import average_precision
from dsa_env.pretrain.encoder import attended_similarity, build_tokenizer, contrast


def test_the_recipe_leaves_models_that_transformers_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "QUICK_PICTURES", 80)
    monkeypatch.setattr(recipe, "QUICK_HELD_OUT", 12)
    out = tmp_path / "models"
    report = recipe.pretrain(out, tmp_path / "world", quick=True)
    assert set(report) >= {"detector_ap50", "scene_recall@10", "region_phrase_accuracy", "minutes"}
    assert all(0 <= report[name] <= 1 for name in ("detector_ap50", "scene_recall@10"))
    assert read_json(out / "report.json") == report
    assert type(AutoModel.from_pretrained(out / "encoder")).__name__ == "CLIPModel"
    AutoModelForObjectDetection.from_pretrained(out / "detector")
    with pytest.raises(DSAError, match="exists"):
        recipe.pretrain(out, tmp_path / "world", quick=True)


def test_average_precision_of_known_boxes() -> None:
    truth = [np.array([[10.0, 10, 20, 20], [50, 50, 10, 10]])]
    right = [np.array([[11.0, 10, 20, 20], [50, 50, 10, 10]])]
    assert average_precision(truth, right, [np.array([0.9, 0.8])]) == pytest.approx(1)
    wrong = [np.array([[80.0, 80, 5, 5], [50, 50, 10, 10]])]
    assert average_precision(truth, wrong, [np.array([0.9, 0.8])]) < 0.6


def test_equal_captions_are_no_negatives() -> None:
    similarity = 20 * torch.eye(3)
    similarity[0, 1] = similarity[1, 0] = 20
    assert contrast(similarity, ["a", "a", "b"]) < 1e-3
    assert contrast(similarity, ["a", "c", "b"]) > 0.3


def test_attention_finds_the_region_and_ignores_padding() -> None:
    regions = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
    text = torch.tensor([[0.0, 1.0]])
    without = attended_similarity(text, regions, torch.tensor([[True, True, False]]))
    assert without.item() == pytest.approx(1, abs=1e-4)
    alone = attended_similarity(text, regions, torch.tensor([[True, False, False]]))
    assert alone.item() == pytest.approx(0, abs=1e-4)


def test_the_tokenizer_knows_its_words_and_marks_others() -> None:
    tokenizer = build_tokenizer(["a red cube, a ball"])
    ids = tokenizer("A red zebra, a ball")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(tokenizer.unk_token_id) == 1
