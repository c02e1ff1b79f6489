"""Progress bars pass items through and keep standard output clean."""

from __future__ import annotations

import pytest

from dsa_env.progress import bar, track


def test_track_yields_every_item_and_prints_nothing_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(track([3, 1, 2], "counting")) == [3, 1, 2]
    assert list(track((n for n in range(3)), "counting", total=3)) == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_the_text_and_the_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with bar("encoding", 4) as shown:
        shown.advance(3)
        shown.describe("scoring")
        shown.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "scoring" in captured.err
    assert "4/4" in captured.err


def test_an_unknown_total_counts_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("reading", None) as shown:
        shown.advance(7)
    assert "7" in capsys.readouterr().err


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 1.0, 20.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr("dsa_env.progress.time.monotonic", lambda: next(now))
    with bar("encoding", 3) as shown:
        for _ in range(3):
            shown.advance()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "encoding: 2/3 after 20 s, 0.1/s, 10 s left",
        "encoding: 3/3 after 30 s, 0.1/s",
    ]


def test_what_was_done_before_counts_for_no_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 20.0, 20.0, 20.0])
    monkeypatch.setattr("dsa_env.progress.time.monotonic", lambda: next(now))
    with bar("encoding", 1000, done=500) as shown:
        shown.advance(400)
    line, *_ = capsys.readouterr().err.splitlines()
    assert line == "encoding: 900/1,000 after 20 s, 20/s, 5 s left"
