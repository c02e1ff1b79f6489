"""Windows of regions lie in the picture, are square, and keep small things small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsa_env.encoders.regions import CONTEXT, SMALLEST, PicturePreparer, Preprocess, region_window
from dsa_env.errors import DSAError

share = st.floats(0, 1)


@given(share, share, st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_window_is_square_inside_the_picture_and_holds_the_centre(
    cx: float, cy: float, w: float, h: float
) -> None:
    left, top, right, bottom = region_window(np.array([cx, cy, w, h]))
    assert left >= -1e-9
    assert right <= 1 + 1e-9
    assert top >= -1e-9
    assert bottom <= 1 + 1e-9
    assert np.isclose(right - left, bottom - top)
    assert right - left >= SMALLEST - 1e-9
    assert left - 1e-9 <= cx <= right + 1e-9
    assert top - 1e-9 <= cy <= bottom + 1e-9


def test_windows_come_in_batches() -> None:
    boxes = np.random.default_rng(0).random((5, 3, 4))
    windows = region_window(boxes)
    assert windows.shape == (5, 3, 4)
    np.testing.assert_allclose(windows[2, 1], region_window(boxes[2, 1]))


def test_a_region_is_cut_where_the_window_lies() -> None:
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    pixels[60:80, 20:40] = 255
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3)
    cut = preprocess.region(Image.fromarray(pixels), np.array([0.2, 0.6, 0.4, 0.8]))
    assert cut.shape == (16, 16, 3)
    assert cut.min() > 200
    assert np.isclose(preprocess.normalize(cut).max(), 1, atol=0.02)


@given(share, share, st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.3, 3))
def test_windows_of_oblong_pictures_are_square_in_pixels_where_they_fit(
    cx: float, cy: float, w: float, h: float, aspect: float
) -> None:
    left, top, right, bottom = region_window(np.array([cx, cy, w, h]), aspect=aspect)
    width, height = (right - left) * aspect, bottom - top  # in picture heights
    wanted = max(w * aspect * CONTEXT, h * CONTEXT, SMALLEST * min(1, aspect))
    assert np.isclose(width, min(wanted, aspect))
    assert np.isclose(height, min(wanted, 1))
    assert min(left, top) >= -1e-9
    assert max(right, bottom) <= 1 + 1e-9


def _stripes() -> Image.Image:
    """80 x 40 pixels: black, white, black; the white middle is half of the width."""
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, 20:60] = 255
    return Image.fromarray(pixels)


def test_whole_pictures_are_cut_padded_or_squeezed() -> None:
    plain = ((0.5,) * 3, (0.5,) * 3)
    cut = Preprocess(16, *plain, 0).whole(_stripes())
    assert (cut == 255).all()
    padded = Preprocess(16, *plain, 0, center_crop=False, pad=True).whole(_stripes())
    assert (padded[[0, -1]] == 127).all()
    assert (padded[8, [0, 8, -1], 0] == [0, 255, 0]).all()
    squeezed = Preprocess(16, *plain, 0).squeezed().whole(_stripes())
    assert (squeezed[:, 4:12] == 255).all()
    assert (squeezed[:, [0, 3, 12, 15]] == 0).all()


def test_a_centre_crop_keeps_what_the_processor_keeps() -> None:
    from transformers import CLIPImageProcessorPil

    side = {"height": 32, "width": 32}
    processor = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=side)
    preprocess = Preprocess.of(processor)
    assert (preprocess.size, preprocess.kept) == (32, 0.8)
    noise = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((100, 80))
    theirs = processor(images=image, return_tensors="np")["pixel_values"][0]
    ours = preprocess.normalize(preprocess.whole(image))
    assert np.abs(ours - theirs).mean() < 0.02


def test_naflex_reads_the_largest_square() -> None:
    from transformers import Siglip2ImageProcessorPil

    assert Preprocess.of(Siglip2ImageProcessorPil(patch_size=16, max_num_patches=270)).size == 256


def test_oblong_inputs_are_refused() -> None:
    from transformers import SiglipImageProcessorPil

    with pytest.raises(DSAError, match="not square"):
        Preprocess.of(SiglipImageProcessorPil(size={"height": 32, "width": 48}))


def test_crops_are_cut_and_patches_keep_their_boxes() -> None:
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3)
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.1, 0.5, 0.1, 0.2]])
    crops = PicturePreparer(preprocess).prepare(_stripes(), boxes)
    assert crops["pixels"].shape == (3, 16, 16, 3)
    assert (crops["pixels"][1] == 255).all()
    assert (crops["pixels"][2] == 0).all()
    patches = PicturePreparer(preprocess, "patches").prepare(_stripes(), boxes)
    assert patches["pixels"].shape == (1, 16, 16, 3)
    assert (patches["pixels"][0][:, 0] == 0).all()  # squeezed: what a crop would cut is there
    for prepared in (crops, patches):
        assert prepared["boxes"].dtype == np.float32
        np.testing.assert_allclose(prepared["boxes"], boxes, atol=1e-7)
    none = PicturePreparer(preprocess).prepare(_stripes(), np.zeros((0, 4)))
    assert (len(none["pixels"]), none["boxes"].shape) == (1, (0, 4))


@pytest.mark.parametrize("kind", ["llava-padded", "llava", "blip", "idefics"])
def test_pictures_come_out_as_the_families_processors_make_them(kind: str) -> None:
    from transformers import BlipImageProcessorPil, IdeficsImageProcessorPil, LlavaImageProcessorPil

    side = {"height": 32, "width": 32}
    edges = {"size": {"shortest_edge": 32}, "crop_size": side}
    processor = {
        "llava-padded": lambda: LlavaImageProcessorPil(do_pad=True, **edges),
        "llava": lambda: LlavaImageProcessorPil(do_pad=False, **edges),
        "blip": lambda: BlipImageProcessorPil(size=side),
        "idefics": lambda: IdeficsImageProcessorPil(image_size=32),
    }[kind]()
    noise = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((120, 80))
    theirs = processor(images=image, return_tensors="np")
    theirs = theirs if isinstance(theirs, np.ndarray) else theirs["pixel_values"]
    preprocess = Preprocess.of(processor)
    ours = preprocess.normalize(preprocess.whole(image))
    assert np.abs(ours - np.asarray(theirs)[0]).mean() < 0.03
