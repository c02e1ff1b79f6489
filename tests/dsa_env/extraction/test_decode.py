"""Pictures are read upright and in RGB; what cannot be read is named, not dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsa_env.extraction.decode import BadPictureError, Cut, Decoder, Open, open_picture


class Preparer:
    """Hands over a picture's corner and the boxes; refuses pictures of one pixel."""

    def prepare(self, image: Image.Image, boxes: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if image.size == (1, 1):
            raise ValueError("too small")
        corner = np.asarray(image)[:1, :1]
        return {"pixels": corner} if boxes is None else {"pixels": corner, "boxes": boxes}


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    noise(40, 30).save(tmp_path / "good.jpg")
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    noise(40, 30).save(tmp_path / "good.png")
    png = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "words.jpg").write_text("<html>404</html>")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    noise(1, 1).save(tmp_path / "tiny.png")
    names = ["good.jpg", "cut.jpg", "good.png", "cut.png", "words.jpg", "empty.jpg", "folder.jpg",
             "tiny.png", "none.jpg"]  # fmt: skip
    return {name: tmp_path / name for name in names}


def test_each_kind_of_bad_picture_is_told_apart(files: dict[str, Path]) -> None:
    for name in ("cut.jpg", "cut.png", "words.jpg", "empty.jpg", "folder.jpg"):
        with pytest.raises(BadPictureError) as caught:
            open_picture(files[name])
        assert caught.value.kind == "broken image", name
        assert caught.value.detail, name
    with pytest.raises(BadPictureError) as caught:
        open_picture(files["none.jpg"])
    assert caught.value.kind == "missing image"


def test_pictures_become_rgb_and_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    noise(40, 30).save(tmp_path / "turned.jpg", exif=turned)
    assert open_picture(tmp_path / "turned.jpg").size == (30, 40)
    for mode in ("L", "RGBA", "P", "CMYK", "I;16", "1"):
        file = tmp_path / f"{mode.replace(';', '')}.{'jpg' if mode == 'CMYK' else 'png'}"
        (Image.new(mode, (8, 6)) if ";" in mode else noise(8, 6).convert(mode)).save(file)
        opened = open_picture(file)
        assert (opened.mode, opened.size) == ("RGB", (8, 6)), mode


def test_good_pictures_of_a_part_are_prepared_and_bad_ones_named(files: dict[str, Path]) -> None:
    decoder = Decoder(Preparer(), Preparer())
    names = list(files)
    opened = decoder(7, Open(list(files.values())))
    assert [names[place] for place in opened.places] == ["good.jpg", "good.png"]
    assert {names[bad.index]: bad.kind for bad in opened.bad} == {
        "cut.jpg": "broken image",
        "cut.png": "broken image",
        "words.jpg": "broken image",
        "empty.jpg": "broken image",
        "folder.jpg": "broken image",
        "tiny.png": "broken image",
        "none.jpg": "missing image",
    }
    boxes = [np.full((2, 4), n, dtype=np.float32) for n in range(2)]
    cut = decoder(7, Cut(boxes))
    assert cut.places == opened.places
    assert not cut.bad
    for prepared, own in zip(cut.prepared, boxes, strict=True):
        np.testing.assert_array_equal(prepared["boxes"], own)


def test_conversations_do_not_mix(files: dict[str, Path]) -> None:
    decoder = Decoder(None, Preparer())
    decoder(1, Open([files["good.jpg"]]))
    decoder(2, Open([files["good.png"], files["good.png"]]))
    none = np.empty((0, 4), dtype=np.float32)
    assert len(decoder(1, Cut([none])).prepared) == 1
    assert len(decoder(2, Cut([none, none])).prepared) == 2
