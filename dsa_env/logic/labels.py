"""Captions, their asserted facts and the scenes behind them: what an audit reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsa_env.bank import FeatureBank, resolve_bank
from dsa_env.bank.format import MANIFEST
from dsa_env.datasets import clevr
from dsa_env.datasets.captions import true_facts, write_distinct_captions
from dsa_env.datasets.json_stream import get, stream
from dsa_env.datasets.scenes import Scene
from dsa_env.errors import DSAError
from dsa_env.logic.scene_graph import SceneGraph

_FIELDS: tuple[tuple[str, type], ...] = (("image_id", int), ("caption", str))
CAPTIONS = 4
"""Captions that are written for a picture where a folder of scenes has none."""


@dataclass(frozen=True)
class Labels:
    """Who asserts what of which picture, and what is labelled true of it.

    Attributes:
        name: where they come from.
        captions: (text, picture, asserted facts) of each caption.
        pictures: all pictures by name.
        facts: all facts that captions assert, sorted.
        holding: picture -> the facts that are labelled true of it.
        scenes: pictures -> their scene graphs.
    """

    name: str
    captions: Sequence[tuple[str, str, tuple[str, ...]]]
    pictures: Sequence[str]
    facts: Sequence[str]
    holding: Callable[[str], set[str]]
    scenes: Callable[[set[str]], dict[str, SceneGraph]]


def read_labels(source: str, scenes: Path | None = None, seed: int = 0) -> Labels:
    """The labels of a feature bank, or of a folder of CLEVR-format scenes.

    Args:
        source: a bank's folder, "embedded", or a folder with scenes in the CLEVR v1.0 format. The
            folder's captions are read from beside the scenes, or written as `dsa build` does.
        scenes: the scenes file, or the folder of scenes files, of a bank whose pictures lie
            elsewhere; None looks around its pictures.
        seed: of captions that are written.

    Raises:
        DSAError: if it is neither, or has no facts, texts or scenes.
    """
    folder = Path(source)
    if source == "embedded" or (folder / MANIFEST).is_file():
        return _of_bank(resolve_bank(source), source, scenes)
    if not folder.is_dir():
        raise DSAError(
            f"{source} does not exist; name a bank's folder, 'embedded', or a folder of scenes in "
            "the CLEVR v1.0 format."
        )
    return _of_folder(folder, scenes, seed)


def _of_bank(bank: FeatureBank, name: str, scenes: Path | None) -> Labels:
    texts, facts, asserted, holding = bank.texts, bank.facts, bank.text_facts, bank.image_facts
    if texts is None or facts is None or asserted is None or holding is None:
        raise DSAError(
            f"{name} lacks texts or facts, so there are no labels to audit; see dsa info."
        )
    files = bank.image_files
    if files is None:
        raise DSAError(f"{name} does not say which pictures it holds, so no scene can be found.")
    first = bank.positives.first
    captions = [
        (texts[t], files[first[t]], tuple(facts[f] for f in asserted.row(t)))
        for t in range(bank.n_texts)
        if first[t] >= 0
    ]
    number = {file: i for i, file in enumerate(files)}
    used = [facts[f] for f in np.unique(asserted.indices)]

    def holds(picture: str) -> set[str]:
        return {facts[f] for f in holding.row(number[picture])}

    def graphs(pictures: set[str]) -> dict[str, SceneGraph]:
        folders = {p for n in pictures for p in _around(bank.image_path(number[n]))}
        found = _read(_scene_files(scenes, sorted(folders), name), {Path(n).name for n in pictures})
        missing = sorted(n for n in pictures if Path(n).name not in found)
        if missing:
            raise DSAError(
                f"No scene is told of {len(missing)} of {len(pictures)} pictures, such as "
                f"{missing[0]}; name the scenes file with --scenes."
            )
        return {n: SceneGraph.of(found[Path(n).name]) for n in pictures}

    return Labels(name, captions, files, used, holds, graphs)


def _of_folder(folder: Path, scenes: Path | None, seed: int) -> Labels:
    told: dict[str, Scene] = {}
    captions: list[tuple[str, str, tuple[str, ...]]] = []
    for file in _scene_files(scenes, [folder], str(folder)):
        split = file.stem.removeprefix("CLEVR_").removesuffix("_scenes")
        beside = clevr.captions_file(folder, split)
        written = _written(beside) if beside.exists() else None
        for scene in clevr.stream_scenes(file):
            scene["split"] = scene.get("split") or split
            name = scene["image_filename"]
            told[name] = scene
            if written is not None:
                own = written.get(scene["image_index"], [])
            else:
                drawn = write_distinct_captions(scene, CAPTIONS, seed)
                own = [(caption.text, caption.facts) for caption in drawn]
            captions += [(text, name, asserted) for text, asserted in own]
    facts = sorted({fact for _, _, asserted in captions for fact in asserted})

    def holds(picture: str) -> set[str]:
        return true_facts(told[picture])

    def graphs(pictures: set[str]) -> dict[str, SceneGraph]:
        return {name: SceneGraph.of(told[name]) for name in pictures}

    return Labels(str(folder), captions, list(told), facts, holds, graphs)


def _written(path: Path) -> dict[int, list[tuple[str, tuple[str, ...]]]]:
    """Picture -> the captions in a COCO captions file, with the facts beside them."""
    found: dict[int, list[tuple[str, tuple[str, ...]]]] = {}
    expected = "a COCO captions file, a list under 'annotations'"
    for number, row in enumerate(stream(path, "annotations.item", expected, empty=True)):
        image, text = (get(row, name, kind, path, number) for name, kind in _FIELDS)
        found.setdefault(image, []).append((text, tuple(map(str, row.get("facts", ())))))
    return found


def _around(picture: Path | None) -> list[Path]:
    """Folders near a picture in which its scenes may lie, the nearest first."""
    return [] if picture is None else list(picture.resolve().parents)[:3]


def _scene_files(given: Path | None, folders: Iterable[Path], name: str) -> list[Path]:
    """The scenes files that were named, or that lie in folders or their folder `scenes`."""
    if given is not None and given.is_file():
        return [given]
    places = [given] if given is not None else list(folders)
    found = {
        file.resolve(): None
        for place in places
        for folder in (place / "scenes", place)
        for file in sorted(folder.glob("*scenes.json"))
    }
    if not found:
        where = given if given is not None else name
        raise DSAError(
            f"No *_scenes.json is found for {where}; name the scenes file with --scenes, in the "
            "CLEVR v1.0 format."
        )
    return list(found)


def _read(files: Sequence[Path], wanted: set[str]) -> dict[str, Scene]:
    found: dict[str, Scene] = {}
    for file in files:
        for scene in clevr.stream_scenes(file):
            if scene["image_filename"] in wanted:
                found[scene["image_filename"]] = scene
        if len(found) == len(wanted):
            break
    return found
