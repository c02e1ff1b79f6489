"""Questions are right, balanced, in CLEVR's format and the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from dsa_env.datasets.clevr_questions import read_questions
from dsa_env.errors import DSAError
from dsa_env.logic.programs import execute
from dsa_env.vqa.generation import Written, generate_questions, write_questions
from dsa_env.vqa.templates import FAMILIES, TEMPLATES
from tests.dsa_env.vqa.small_world import scenes, write_scenes


@pytest.fixture(scope="module")
def written() -> list[Written]:
    return generate_questions(scenes()["train"], per_image=10)


def test_every_answer_is_what_the_program_gives(written: list[Written]) -> None:
    for one in written:
        assert execute(one.program, scenes()["train"][one.scene]) == one.answer


def test_every_family_is_asked_about_and_none_dominates(written: list[Written]) -> None:
    counts = Counter(TEMPLATES[one.template].family for one in written)
    assert set(counts) == set(FAMILIES)
    assert len(written) <= 10 * len(scenes()["train"])
    assert max(counts.values()) <= 2 * min(counts.values())


def test_a_constant_answer_does_not_win(written: list[Written]) -> None:
    answers: dict[int, Counter[str]] = defaultdict(Counter)
    for one in written:
        answers[one.template][one.answer] += 1
    for template, counts in answers.items():
        (_, most), (_, second) = counts.most_common(2)
        assert most == second, TEMPLATES[template]
    for family in ("exist", "compare"):
        own = [w.answer for w in written if TEMPLATES[w.template].family == family]
        assert own.count("yes") == own.count("no")


def test_no_question_comes_twice_about_a_picture(written: list[Written]) -> None:
    assert len({(one.scene, one.text) for one in written}) == len(written)


def test_the_seed_decides() -> None:
    few = scenes()["test"]
    assert generate_questions(few, seed=3) == generate_questions(few, seed=3)
    assert generate_questions(few, seed=3) != generate_questions(few, seed=4)


def test_the_file_is_clevrs(tmp_path: Path) -> None:
    root = write_scenes(tmp_path)
    file = write_questions(root, "validation", per_image=5)
    assert file == root / "questions" / "CLEVR_val_questions.json"
    document = json.loads(file.read_text())
    first = document["questions"][0]
    assert {"question", "answer", "program", "question_family_index", "image_filename"} <= set(
        first
    )
    assert document["info"]["split"] == "val"
    read = list(read_questions(root, "val"))
    of_file = {scene["image_filename"]: scene for scene in scenes()["validation"]}
    assert len(read) == len(document["questions"])
    for question in read:
        assert execute(question.program, of_file[question.image]) == question.answer
        assert question.family is not None


def test_pictures_can_be_limited_and_the_file_put_elsewhere(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "world")
    write_questions(root, "train", out=tmp_path / "out", images=12)
    asked = {question.image for question in read_questions(tmp_path / "out", "train")}
    assert asked <= {scene["image_filename"] for scene in scenes()["train"][:12]}
    assert not (root / "questions").exists()


def test_what_allows_no_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="per_image must be at least 1"):
        generate_questions(scenes()["test"], per_image=0)
    empty = {**scenes()["test"][0], "objects": [], "relationships": {}}
    with pytest.raises(DSAError, match="no balanced questions"):
        generate_questions([empty])
    with pytest.raises(DSAError, match="does not exist"):
        write_questions(tmp_path, "train")
