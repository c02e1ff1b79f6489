"""Large JSON is read record by record."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env import progress
from dsa_env.datasets import json_stream
from dsa_env.datasets.json_stream import get, stream
from dsa_env.errors import DSAError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON | st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_streamed_records_are_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("stream") / "data.json"
    path.write_text(json.dumps({"before": [1], "list": records, "after": {"list": [2]}}))
    assert list(stream(path, "list.item", "a list", empty=True)) == records


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    record = json.dumps({"objects": [{"names": ["a thing"], "x": n, "y": 1.5} for n in range(50)]})
    with path.open("w") as file:
        file.write("[" + ", ".join([record] * 2000) + "]")
    assert path.stat().st_size > 4e6
    tracemalloc.start()
    count = sum(1 for _ in stream(path, "item", "a list"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert peak < 1e6


def test_long_reading_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(json_stream, "LARGE", 0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    path = tmp_path / "large.json"
    path.write_text(json.dumps(list(range(10))))
    assert list(stream(path, "item", "a list")) == list(range(10))
    assert "reading large.json (MB)" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"[1, 2", b"{]", b'["\xff"]', b"[1] 2", b"\x00"])
def test_broken_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(DSAError, match=r"broken\.json is not valid JSON") as caught:
        list(stream(path, "item", "a list"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DSAError, match="cannot be read"):
        list(stream(tmp_path, "item", "a list"))


def test_fields_are_checked(tmp_path: Path) -> None:
    assert get({"id": 3}, "id", int, tmp_path, 0) == 3
    for record in ({"id": True}, {"id": None}, {}, [], {"id": "3"}):
        with pytest.raises(DSAError, match=r"record 7 .* 'id', which should be int"):
            get(record, "id", int, tmp_path, 7)
