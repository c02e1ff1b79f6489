"""What the rest of the package relies on: padded views, and preparing without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dsa_env.encoders.protocol import Views
from dsa_env.errors import DSAError


def test_views_are_padded_with_zeros() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.random((3, 4), dtype=np.float32)
    regions = [rng.random((n, 4), dtype=np.float32) for n in (2, 0, 3)]
    boxes = [rng.random((n, 4), dtype=np.float32) for n in (2, 0, 3)]
    views = Views.pack(coarse, regions, boxes, 5)
    assert views.counts.tolist() == [2, 0, 3]
    assert views.regions.shape == (3, 5, 4)
    assert views.boxes.shape == (3, 5, 4)
    for n, count in enumerate(views.counts):
        np.testing.assert_array_equal(views.regions[n, :count], regions[n])
        np.testing.assert_array_equal(views.boxes[n, :count], boxes[n])
        assert not views.regions[n, count:].any()
        assert not views.boxes[n, count:].any()


def test_pictures_without_regions_have_views() -> None:
    none = [np.zeros((0, 4), dtype=np.float32)] * 2
    views = Views.pack(np.ones((2, 4), dtype=np.float32), none, none, 3)
    assert views.counts.tolist() == [0, 0]
    assert not views.regions.any()


def test_more_regions_than_room_are_refused() -> None:
    rows = [np.ones((5, 4), dtype=np.float32)]
    with pytest.raises(DSAError, match="has 5 regions but room for 3; give --regions 5"):
        Views.pack(np.ones((1, 4), dtype=np.float32), rows, rows, 3)


def test_decode_workers_need_no_torch() -> None:
    program = (
        "import sys; from dsa_env.encoders import families, preparing, protocol, regions; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
