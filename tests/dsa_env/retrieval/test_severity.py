"""Severity as charged, and the true share of unsupported facts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.errors import BankError
from dsa_env.retrieval.severity import pair_severity, pair_unsupported


def bank_with(**changes: Any) -> FeatureBank:
    eye = np.eye(3)
    facts = {
        "features": np.eye(4, 3) + 0.1,
        "text": [[0, 1, 2], [3], []],
        "image": [[0, 1], [], [3, 2, 1, 0]],
    }
    arguments: dict[str, Any] = {"facts": facts, "splits": ["test"] * 3}
    return FeatureBank.from_arrays(eye, eye, eye, **(arguments | changes))


def test_the_share_of_asserted_facts_that_do_not_hold() -> None:
    texts, images = np.divmod(np.arange(9), 3)
    share = pair_unsupported(bank_with(), texts, images)
    assert share.dtype == np.float32
    np.testing.assert_allclose(share[:6], [1 / 3, 1, 0, 1, 1, 0], atol=1e-7)
    assert np.isnan(share[6:]).all()
    np.testing.assert_array_equal(pair_unsupported(bank_with(), [1, 1], [2, 2]), 0.0)


def test_nothing_is_judged_on_a_picture_that_nobody_looked_at(tmp_path: Path) -> None:
    facts = {
        "features": np.eye(4, 3) + 0.1,
        "text": [[0], [3], [1]],
        "image": [[0], [], [1]],
        "known": [True, False, True],
    }
    bank = bank_with(facts=facts, path=tmp_path / "bank")
    bank.verify()
    assert FeatureBank.open(tmp_path / "bank").image_facts_known.tolist() == facts["known"]
    np.testing.assert_array_equal(pair_unsupported(bank, [0, 0, 0], [0, 1, 2]), [0, np.nan, 1])
    assert "image_facts_known" not in bank_with().manifest["arrays"]
    with pytest.raises(BankError, match="known"):
        bank_with(facts=facts | {"known": [True]})


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, images = np.divmod(np.arange(9), 3)
    whole = pair_unsupported(bank_with(), texts, images)
    monkeypatch.setattr("dsa_env.retrieval.severity.CHUNK", 2)
    np.testing.assert_array_equal(pair_unsupported(bank_with(), texts, images), whole)


def test_a_bank_without_facts_knows_no_truth() -> None:
    assert np.isnan(pair_unsupported(bank_with(facts=None), [0, 1], [2, 2])).all()


def test_severity_is_the_users_own_table_or_zero() -> None:
    table = np.arange(9).reshape(3, 3) / 8
    own = bank_with(severity=table)
    np.testing.assert_array_equal(pair_severity(own, [0, 2, 1], [1, 2, 0]), [1 / 8, 1, 3 / 8])
    assert pair_severity(own, [0], [0]).dtype == np.float32
    np.testing.assert_array_equal(pair_severity(bank_with(), [0, 2], [1, 2]), 0.0)


def test_a_detector_without_torch_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = bank_with(path=tmp_path / "bank")
    (tmp_path / "bank" / "hallucination").mkdir()
    monkeypatch.setitem(sys.modules, "dsa_env.hallucination", None)
    with pytest.raises(BankError, match="pip install 'dsa-env"):
        pair_severity(bank, [0], [0])
