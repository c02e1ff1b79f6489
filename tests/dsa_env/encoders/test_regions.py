"""Windows of regions lie in the picture, are square, and keep small things small."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsa_env.encoders.regions import SMALLEST, Preprocess, region_window

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
