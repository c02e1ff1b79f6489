"""POPE-style questions about images: facts that hold, and three kinds of facts that do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Ints = NDArray[np.int64]

NEGATIVES = ("random", "popular", "adversarial")
RANDOM, POPULAR, ADVERSARIAL = range(len(NEGATIVES))
NEIGHBOURS = 32
"""How many of the nearest facts an adversarial negative is drawn from."""
POOL = 8192
"""Nearest facts are looked for among at most this many of a kind."""
ROUNDS = 10
"""How often a negative that turns out to hold is drawn again."""


@dataclass(frozen=True)
class Questions:
    """Does the fact hold of the image? Every true fact is followed by a false one.

    Attributes:
        image: [2 M] int64 image ids of the bank.
        fact: [2 M] int64 fact ids of the bank.
        label: [2 M] float32, 1 where the fact holds; alternates 1, 0, 1, 0 ...
        negative: [2 M] int64, which of `NEGATIVES` the false fact of the two is.
        kind: [2 M] int64, the facts' kind (code into `bank.fact_kinds`; 0 where there are none).
    """

    image: Ints
    fact: Ints
    label: NDArray[np.float32]
    negative: Ints
    kind: Ints

    def __len__(self) -> int:
        return len(self.fact)


class QuestionSampler:
    """Draws balanced questions about a split's images from the facts its texts assert.

    True facts are drawn as often as the split's texts assert them. Each is paired with a false
    fact of the same kind, so that a fact's kind says nothing about the answer. A third each are,
    after POPE (Li et al. 2023, https://arxiv.org/abs/2305.10355):

    - random: any fact that does not hold;
    - popular: drawn as often as texts assert it;
    - adversarial: half of them hold in an image in which the true fact also holds (they co-occur
      with it), half are among the nearest to the true fact by the cosine of their features (they
      say nearly the same, such as another colour).

    Args:
        bank: a bank with facts.
        split: whose texts say which facts are asserted, and how often.
        images: [n] image ids to ask about; by default the split's.
        equal_kinds: draw each kind of fact equally often, not as often as texts assert it.
        seed: of the pool of neighbours, where a kind has very many facts.

    Attributes:
        images: [n] int64, the images asked about.
        n_kinds: how many kinds of facts there are, at least 1.

    Raises:
        DSAError: the bank has no facts, or none that the split's texts assert holds of an image.
    """

    def __init__(
        self,
        bank: FeatureBank,
        split: str,
        images: ArrayLike | None = None,
        *,
        equal_kinds: bool = False,
        seed: int = 0,
    ) -> None:
        if bank.fact_features is None or bank.text_facts is None or bank.image_facts is None:
            raise DSAError(
                "This bank holds no facts, so there is nothing to learn hallucination from; "
                "pass facts= when making it."
            )
        self.images: Ints = np.asarray(
            bank.split_images(split) if images is None else images, dtype=np.int64
        )
        n_facts = len(bank.fact_features)
        asserted = bank.text_facts.take(bank.split_texts(split)).indices
        self._counts = np.bincount(asserted, minlength=n_facts).astype(np.float64)
        self._kind = _kinds(bank)
        self.n_kinds = int(self._kind.max(initial=0)) + 1
        by_kind = np.bincount(self._kind, self._counts, self.n_kinds)
        self._shares = (by_kind > 0).astype(np.float64) if equal_kinds else by_kind
        rows = bank.image_facts.take(self.images)
        known = self._counts[rows.indices] > 0
        self._index_truth(rows.row_of[known], rows.indices[known].astype(np.int64))
        if not len(self._true):
            raise DSAError(
                f"No fact asserted by a text of split {split!r} holds of its images; check the "
                "bank's facts and splits."
            )
        self._vocabulary = [
            np.flatnonzero((self._counts > 0) & (self._kind == k)) for k in range(self.n_kinds)
        ]
        self._near = self._neighbours(bank.fact_features, np.random.default_rng(seed))

    def sample(self, per_image: int, rng: np.random.Generator) -> Questions:
        """Draw up to `per_image` true facts of each image, each with a false one.

        Images of which no fact is known to hold, and true facts for which no false one of their
        kind was found, are left out; questions come in the order of the images.

        Raises:
            DSAError: not a single false fact was found, so there is only one answer.
        """
        has_kind = np.diff(self._group).reshape(len(self.images), self.n_kinds) > 0
        cumulative = np.cumsum(has_kind * self._shares, axis=1)
        place = np.repeat(np.arange(len(self.images)), per_image)
        place = place[cumulative[place, -1] > 0]
        chosen = rng.random(len(place)) * cumulative[place, -1]
        kind = (chosen[:, None] >= cumulative[place]).sum(axis=1)
        true = self._draw_true(place, kind, rng)
        negative = rng.permutation(np.arange(len(place)) % len(NEGATIVES))
        false = np.full(len(place), -1, dtype=np.int64)
        for attempt in range(ROUNDS):
            left = np.flatnonzero(false < 0)
            proposed = self._propose(true[left], kind[left], negative[left], attempt, rng)
            good = (proposed >= 0) & ~self._holds(place[left], proposed)
            false[left[good]] = proposed[good]
        found = false >= 0
        if not found.any():
            raise DSAError(
                "Every asserted fact holds of every image, so there is only one answer to learn; "
                "give facts that tell images apart."
            )
        return Questions(
            image=np.repeat(self.images[place[found]], 2),
            fact=np.stack([true[found], false[found]], axis=1).ravel(),
            label=np.tile(np.array([1, 0], dtype=np.float32), int(found.sum())),
            negative=np.repeat(negative[found], 2),
            kind=np.repeat(kind[found], 2),
        )

    def weigh_kinds(self, weights: ArrayLike) -> None:
        """From now on draw kinds of facts in proportion to `weights`, [n_kinds], above 0.

        Kinds that no text of the split asserts stay out.
        """
        self._shares = np.where(self._shares > 0, np.asarray(weights, dtype=np.float64), 0.0)

    def _index_truth(self, place: Ints, fact: Ints) -> None:
        """Sort the true (image, fact) pairs so that they can be drawn from and looked up."""
        n_facts = len(self._counts)
        group = place * self.n_kinds + self._kind[fact]
        order = np.argsort(group * n_facts + fact)
        place, self._true, group = place[order], fact[order], group[order]
        groups = np.arange(len(self.images) * self.n_kinds + 1)
        self._group = np.searchsorted(group, groups)
        self._weight = np.concatenate([[0.0], np.cumsum(self._counts[self._true])])
        self._keys = np.sort(place * n_facts + self._true)
        by_fact = np.argsort(self._true, kind="stable")
        self._holders = place[by_fact]
        self._holder_start = np.searchsorted(self._true[by_fact], np.arange(n_facts + 1))

    def _holds(self, place: Ints, fact: Ints) -> NDArray[np.bool_]:
        """Whether facts hold of the images at those places; fact -1 does not."""
        key = place * len(self._counts) + fact
        nearest = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        held: NDArray[np.bool_] = (fact >= 0) & (self._keys[nearest] == key)
        return held

    def _draw_true(self, place: Ints, kind: Ints, rng: np.random.Generator) -> Ints:
        """A fact of that kind that holds of the image at each place; -1 where there is none."""
        group = place * self.n_kinds + kind
        first, end = self._group[group], self._group[group + 1]
        low, high = self._weight[first], self._weight[end]
        target = low + rng.random(len(group)) * (high - low)
        drawn = np.searchsorted(self._weight, target, side="right") - 1
        drawn = np.clip(drawn, first, np.maximum(end - 1, 0))
        return np.where(end > first, self._true[drawn], -1)

    def _propose(
        self, true: Ints, kind: Ints, negative: Ints, attempt: int, rng: np.random.Generator
    ) -> Ints:
        """A fact for each true fact that may turn out to hold; later attempts look further."""
        proposed = np.full(len(true), -1, dtype=np.int64)
        for k, facts in enumerate(self._vocabulary):
            if len(facts):
                at = np.flatnonzero((kind == k) & (negative == RANDOM))
                proposed[at] = facts[rng.integers(len(facts), size=len(at))]
                at = np.flatnonzero((kind == k) & (negative == POPULAR))
                weight = np.cumsum(self._counts[facts])
                drawn = np.searchsorted(weight, rng.random(len(at)) * weight[-1], side="right")
                proposed[at] = facts[np.minimum(drawn, len(facts) - 1)]
        adversarial = negative == ADVERSARIAL
        co_occurring = rng.random(len(true)) < 0.5
        at = np.flatnonzero(adversarial & ~co_occurring)
        width = min(NEIGHBOURS, NEIGHBOURS // 4 * (attempt + 1))
        proposed[at] = self._near[true[at], rng.integers(width, size=len(at))]
        at = np.flatnonzero(adversarial & co_occurring)
        start, end = self._holder_start[true[at]], self._holder_start[true[at] + 1]
        other = self._holders[start + (rng.random(len(at)) * (end - start)).astype(np.int64)]
        proposed[at] = self._draw_true(other, kind[at], rng)
        return proposed

    def _neighbours(self, features: NDArray[np.floating], rng: np.random.Generator) -> Ints:
        """[F, NEIGHBOURS] the nearest facts of the same kind, nearest first; -1 beyond them."""
        near = np.full((len(features), NEIGHBOURS), -1, dtype=np.int64)
        for facts in self._vocabulary:
            pool = facts if len(facts) <= POOL else np.sort(rng.choice(facts, POOL, replace=False))
            size = min(NEIGHBOURS, len(pool) - 1)
            if size < 1:
                continue
            against = np.asarray(features[pool], dtype=np.float32).T
            for start in range(0, len(facts), 1024):
                block = facts[start : start + 1024]
                similar = np.asarray(features[block], dtype=np.float32) @ against
                similar[block[:, None] == pool] = -np.inf
                best = np.argpartition(-similar, size - 1, axis=1)[:, :size]
                order = np.argsort(-np.take_along_axis(similar, best, axis=1), axis=1)
                near[block, :size] = pool[np.take_along_axis(best, order, axis=1)]
        return near


def _kinds(bank: FeatureBank) -> Ints:
    """The kind code of each fact; all 0 where the bank does not say."""
    assert bank.fact_features is not None
    if bank.fact_kind is None:
        return np.zeros(len(bank.fact_features), dtype=np.int64)
    return np.asarray(bank.fact_kind, dtype=np.int64)
