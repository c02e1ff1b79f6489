"""The batched environment without its episodes: observations, outcomes, rewards, the oracle."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from numpy.typing import ArrayLike, NDArray

from dsa_env.bank import FeatureBank, resolve_bank
from dsa_env.bank.format import SPLITS
from dsa_env.curves.lookup import look_up
from dsa_env.directions import DIRECTIONS, Options, load_queries
from dsa_env.errors import DSAError, unknown
from dsa_env.oracle import best_granularity
from dsa_env.outcome import Outcome
from dsa_env.reward_curves import RewardCurves, reward_curves
from dsa_env.rewards import Reward, Terms, evaluate, resolve_reward
from dsa_env.step import Judged, Step

if TYPE_CHECKING:
    from dsa_env.retrieval.retrieval import Retrieval

Observation = dict[str, NDArray[Any]]
OBSERVATIONS = ("features", "index")

START = np.float32(0.5)
"""The granularity that a refining agent (horizon above 1) is shown before its first action."""


class RetrievalCore:
    """One split of a bank as B independent retrieval problems, without state.

    Both environments are thin faces over it, and a trainer that wants no episodes can use it
    directly: `observe` and `evaluate` take any batch of queries.

    Args:
        bank: a folder, ``"embedded"`` or an open `FeatureBank`.
        direction: ``"text_to_image"``, ``"image_to_text"`` or ``"captioning"``.
        split: which images' queries: ``"pretrain"``, ``"train"``, ``"validation"``, ``"test"``.
        k: cut-off of Recall@k, from 1 to 10.
        horizon: steps per episode; above 1 the observation also holds the current g and the
            current retrieval's features.
        reward: see `dsa_env.rewards.resolve_reward`.
        reward_kwargs: arguments of the reward.
        shortlist: candidates per query; by default the whole gallery up to 512, else 256.
        faiss: find candidates through a FAISS index, for galleries too large to compare whole.
        observation: ``"features"``, or ``"index"`` for policies that gather the features of a query
            themselves, from ``retrieval.observation``; at horizon 1 only.
        ambiguity: whether the observation also says how many readings the query's text has
            (`dsa_env.logic.ambiguity`), which the words alone say; from text to image only.
        model: this and what follows for captioning alone, see `dsa_env.directions.Options`.
        prompts: see there.
        grid: see there.
        live: see there; at horizon 1 only. There is no oracle then.

    Attributes:
        bank: the open `FeatureBank`.
        reward: the resolved reward.
        reward_space: where a vector reward lies; None for a scalar reward.
        observation_space: of one query.
        action_space: ``Box(0, 1, (1,), float32)``, the granularity g.

    Raises:
        DSAError: an argument is unknown or out of range, or the reward breaks its contract.
    """

    def __init__(
        self,
        bank: str | os.PathLike[str] | FeatureBank = "embedded",
        direction: str = "text_to_image",
        split: str = "train",
        k: int = 10,
        horizon: int = 1,
        reward: Any = None,
        reward_kwargs: dict[str, Any] | None = None,
        shortlist: int | None = None,
        faiss: bool = False,
        observation: str = "features",
        ambiguity: bool = False,
        model: str = "embedded",
        prompts: Sequence[str] | None = None,
        grid: int = 11,
        live: bool = False,
    ) -> None:
        if observation not in OBSERVATIONS:
            raise unknown("observation", observation, OBSERVATIONS)
        if direction not in DIRECTIONS:
            raise unknown("direction", direction, DIRECTIONS)
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        self.k = _whole("k", k)
        self.horizon = _whole("horizon", horizon)
        if observation == "index" and self.horizon > 1:
            raise DSAError(
                "observation 'index' needs horizon 1: above it the observation changes within an "
                "episode; use 'features'."
            )
        if live and self.horizon > 1:
            raise DSAError("live needs horizon 1; leave it out, captions of a grid are kept.")
        self.observation = observation
        self.ambiguity = ambiguity
        self.direction = direction
        self.split = split
        self.reward: Reward = resolve_reward(reward, reward_kwargs)
        self.bank: FeatureBank = resolve_bank(bank)
        options = Options(shortlist, faiss, str(model), prompts, grid, live)
        self.retrieval = load_queries(self.bank, direction, split, options)
        if ambiguity and self.retrieval.asks_pictures:
            raise DSAError(
                "ambiguity is the number of readings of the query's text, but in direction "
                f"{direction!r} the query is a picture; leave it out."
            )
        if self.k > self.retrieval.k_max:
            raise DSAError(f"k must be at most {self.retrieval.k_max}, got {k}.")
        self._arguments: dict[str, Any] = {
            "bank": bank,
            "direction": direction,
            "split": split,
            "k": self.k,
            "horizon": self.horizon,
            "reward": self.reward,
            "shortlist": shortlist,
            "faiss": faiss,
            "observation": observation,
            "ambiguity": ambiguity,
            "model": model,
            "prompts": prompts,
            "grid": grid,
            "live": live,
        }
        values, terms, _ = self._probe()
        self.term_names = tuple(terms)
        self.reward_space = _reward_space(self.reward, values)
        self.observation_space = self._observation_space()
        self.action_space = Box(0.0, 1.0, (1,), np.float32)

    def __reduce__(self) -> tuple[Callable[[], RetrievalCore], tuple[()]]:
        """Pickle as the arguments: the arrays are loaded again from the bank."""
        return functools.partial(RetrievalCore, **self._arguments), ()

    @property
    def retrieval(self) -> Retrieval:
        """The split's queries, candidates and curves; may be replaced, by a null one say.

        A pickle of the core does not keep a replacement.
        """
        return self._retrieval

    @retrieval.setter
    def retrieval(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval
        kept = ("_oracle", "reward_curves", "_ambiguity", "_items", "_item_table", "_item_row")
        for name in kept:
            self.__dict__.pop(name, None)

    @property
    def n_queries(self) -> int:
        """Number of queries Q of the split."""
        return len(self.retrieval.query_ids)

    def observe(
        self,
        query: ArrayLike,
        granularity: ArrayLike | None = None,
        retrieved: ArrayLike | None = None,
    ) -> Observation:
        """What an agent sees of B queries; holds nothing that is unknown at inference.

        Args:
            query: [B] integers in [0, Q).
            granularity: [B] the g last used; only for horizon above 1, by default 0.5.
            retrieved: [B] bank ids of the items on top, -1 for none yet; only for horizon above 1.

        Returns:
            Fresh float32 arrays in [-1, 1]: ``text`` [B, Dt], ``image`` [B, Di] and, for horizon
            above 1, ``granularity`` [B, 1] and ``retrieved`` [B, Dr]; with ambiguity
            ``ambiguity`` [B, 1]. With observation ``"index"`` only ``query`` [B] int64.
        """
        index = np.asarray(query)
        if self.observation == "index":
            return {"query": index.astype(np.int64)}
        rows = np.take(self.retrieval.observation, index, axis=0)
        observation: Observation = {**self.retrieval.observed(rows)}
        if self.ambiguity:
            observation["ambiguity"] = np.take(self._ambiguity, index, axis=0)
        if self.horizon > 1:
            used = np.full(len(index), START) if granularity is None else granularity
            item = np.full(len(index), -1) if retrieved is None else np.asarray(retrieved)
            observation["granularity"] = np.array(used, dtype=np.float32)[:, None]
            observation["retrieved"] = np.take(self._item_table, self._item_row[item], axis=0)
        return observation

    def evaluate(self, query: ArrayLike, g: ArrayLike) -> tuple[NDArray[Any], Terms, Outcome]:
        """Use granularity g [B] for the queries [B].

        Returns:
            The reward's values [B] (or [B, m]), its terms (name -> [B]) and the `Outcome`.

        Raises:
            DSAError: the reward breaks its contract.
        """
        outcome = self.outcome(query, g)
        values, terms = evaluate(self.reward, outcome)
        return values, terms, outcome

    def outcome(self, query: ArrayLike, g: ArrayLike) -> Outcome:
        """What granularity g [B] leads to for the queries [B], each in [0, Q).

        The same as ``retrieval.outcomes``, compiled where outcomes are kept as curves.
        """
        if self.retrieval.curves is None:
            return self.retrieval.outcomes(query, g, self.k)
        asked = np.ascontiguousarray(query, dtype=np.int64)
        used = np.ascontiguousarray(g, dtype=np.float32)
        if asked.shape != used.shape or asked.ndim != 1:
            raise DSAError(
                f"query and g must be one-dimensional and of one length, got shapes {asked.shape} "
                f"and {used.shape}."
            )
        curves = self.retrieval.curves
        rank, severity, item, wrong = look_up(curves.records, curves.first, asked, used)
        if wrong >= 0:
            raise DSAError(
                f"Queries must lie in 0..{self.n_queries - 1} and granularities in [0, 1], got "
                f"query {asked[wrong]} with g {used[wrong]:g} at {wrong}."
            )
        recall = (rank <= self.k).astype(np.float32)
        return Outcome(asked, used, rank, recall, severity, item, self.k)

    def step(self, query: NDArray[np.int64], g: NDArray[np.float32]) -> Step:
        """`evaluate` as a step of the environment; its info is made when it is asked for.

        Raises:
            DSAError: the reward breaks its contract, or changed its form since it was first tried.
        """
        judged = self.judge(query, g)
        return Step(self, query, g, judged[0].astype(np.float64), judged)

    def judge(self, query: NDArray[np.int64], g: NDArray[np.float32]) -> Judged:
        """`evaluate`, whose reward has to keep its form.

        Raises:
            DSAError: the reward breaks its contract, or changed its form since it was first tried.
        """
        raw, terms, outcome = self.evaluate(query, g)
        if terms.keys() != set(self.term_names) or raw.shape[1:] != self._value_shape:
            raise DSAError(
                f"The reward changed its form: it returned shape {raw.shape} and the terms "
                f"{list(terms)}, before (B, *{self._value_shape}) and {list(self.term_names)}; "
                "return the same at every call."
            )
        return raw, terms, outcome

    def info(self, raw: NDArray[Any], terms: Terms, outcome: Outcome) -> dict[str, Any]:
        """The info of a step: name -> [B] array, ``reward_terms`` a dict of such.

        Nothing is said of an oracle where outcomes are found on demand.
        """
        values, query = raw.astype(np.float64), outcome.query
        info: dict[str, Any] = {
            "query": query.astype(np.int64),
            "rank": outcome.rank.astype(np.float64),
            "recall": outcome.recall.astype(np.float64),
            "severity": outcome.severity.astype(np.float64),
            "granularity": outcome.granularity.astype(np.float64),
            "retrieved": outcome.retrieved.astype(np.int64),
        }
        if self.retrieval.curves is not None:
            oracle_reward = self.oracle()[0][query]
            info["oracle_reward"] = oracle_reward
            info["regret"] = oracle_reward - values if values.ndim == 1 else oracle_reward.copy()
        info["reward_terms"] = {name: term.astype(np.float64) for name, term in terms.items()}
        return info

    def oracle(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The best reward of each query and a g that earns it, over all g in [0, 1].

        Exact, not a grid (see `dsa_env.oracle`). Computed once.

        Returns:
            reward [Q] and g [Q], float64; NaN for vector rewards, which have no single best, and
            where outcomes are found on demand.
        """
        return self._oracle

    @functools.cached_property
    def _oracle(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        curves = self.retrieval.curves
        if self.reward_space is not None or curves is None:
            nothing = np.full(self.n_queries, np.nan)
            return nothing, nothing
        return best_granularity(curves, self.reward, self.k)

    @functools.cached_property
    def reward_curves(self) -> RewardCurves | None:
        """What each query earns as a function of g; None where that is not kept.

        See `dsa_env.reward_curves.reward_curves`; outcomes must be kept as curves.
        """
        assert self.retrieval.curves is not None
        return reward_curves(self.retrieval.curves, self.reward, self.k)

    @property
    def _value_shape(self) -> tuple[int, ...]:
        return () if self.reward_space is None else self.reward_space.shape

    def _probe(self) -> tuple[NDArray[Any], Terms, Outcome]:
        """Try the reward on three outcomes, so that a wrong one is refused on arrival."""
        return self.evaluate(np.arange(3) % self.n_queries, np.full(3, START))

    def _observation_space(self) -> Dict:
        if self.observation == "index":
            return Dict({"query": Discrete(self.n_queries)})
        spaces: dict[str, Space[Any]] = {
            name: Box(-1.0, 1.0, rows.shape[1:], np.float32)
            for name, rows in self.retrieval.observed(self.retrieval.observation[:0]).items()
        }
        if self.ambiguity:
            spaces["ambiguity"] = Box(0.0, 1.0, (1,), np.float32)
        if self.horizon > 1:
            width = self._item_table.shape[1]
            spaces["granularity"] = Box(0.0, 1.0, (1,), np.float32)
            spaces["retrieved"] = Box(-1.0, 1.0, (width,), np.float32)
        return Dict(spaces)

    @functools.cached_property
    def _ambiguity(self) -> NDArray[np.float32]:
        """[Q, 1] how many readings each query's text has, as a feature in [0, 1]."""
        from dsa_env.logic.ambiguity import ambiguity_feature, reading_counts

        texts = self.bank.texts
        asked = None if texts is None else [texts[i] for i in self.retrieval.query_ids]
        return ambiguity_feature(reading_counts(asked))[:, None]

    @functools.cached_property
    def _items(self) -> NDArray[np.int64]:
        """[U] bank ids of the items that are on top of some query for some g, ascending."""
        assert self.retrieval.curves is not None
        return np.unique(self.retrieval.curves.item).astype(np.int64)

    @functools.cached_property
    def _item_table(self) -> NDArray[np.float32]:
        """[U + 1, Dr] the features of `_items`; the last row, for no item yet, is zeros."""
        if self.retrieval.finds_pictures:
            views = [self.bank.image_coarse[self._items], self.bank.fine_features(self._items)]
        else:
            views = [self.bank.text_features[self._items]]
        features = np.concatenate(views, axis=1).astype(np.float32)
        return np.pad(np.clip(features, -1, 1), ((0, 1), (0, 0)))

    @functools.cached_property
    def _item_row(self) -> NDArray[np.int64]:
        """Bank id -> row of `_item_table`; the last entry, reached by -1, is the row of zeros."""
        row = np.full(int(self._items[-1]) + 2, len(self._items), dtype=np.int64)
        row[self._items] = np.arange(len(self._items))
        return row


def _whole(name: str, value: Any) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise DSAError(f"{name} must be a whole number of at least 1, got {value!r}.")
    return int(value)


def _reward_space(reward: Reward, values: NDArray[Any]) -> Box | None:
    """Where a vector reward lies: what it says itself, else everywhere; None for a scalar."""
    if values.ndim == 1:
        return None
    space = getattr(reward, "reward_space", None)
    if space is None:
        return Box(-np.inf, np.inf, values.shape[1:], np.float32)
    if not isinstance(space, Box) or space.shape != values.shape[1:]:
        raise DSAError(
            f"The reward's reward_space must be a Box of shape {values.shape[1:]} like its values, "
            f"got {space!r}."
        )
    return space
