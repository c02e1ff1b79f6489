"""What was wrong with a dataset's files: by name, counted, skipped or fatal, never dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dsa_env.errors import DSAError, unknown

OnBad = Literal["fail", "skip"]

MISSING_IMAGE = "missing image"
BROKEN_IMAGE = "broken image"
EMPTY_CAPTION = "empty caption"
NO_CAPTIONS = "no captions"
UNKNOWN_IMAGE = "unknown image"  # an annotation of an image that the dataset does not list
UNKNOWN_CATEGORY = "unknown category"
DUPLICATE = "duplicate"
BAD_RECORD = "bad record"
KINDS = (
    MISSING_IMAGE,
    BROKEN_IMAGE,
    EMPTY_CAPTION,
    NO_CAPTIONS,
    UNKNOWN_IMAGE,
    UNKNOWN_CATEGORY,
    DUPLICATE,
    BAD_RECORD,
)

NAMED = 5  # names of each kind that a summary shows


@dataclass(frozen=True)
class Problem:
    """One thing that was wrong, and was left out for it.

    Attributes:
        kind: one of `KINDS`.
        where: the file, or the record's number in its file.
        detail: what exactly, in a few words; "" where the kind says it all.
    """

    kind: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        """The problem in one line."""
        return f"{self.kind}: {self.where}" + (f" ({self.detail})" if self.detail else "")


class BadRecordError(DSAError):
    """A record of a file lacks a field or has another type of value there.

    Args:
        path: the file.
        number: the record's number in it, from 0.
        detail: what is wrong with it.
    """

    def __init__(self, path: Path, number: int, detail: str) -> None:
        super().__init__(f"{path}: record {number} {detail}.")
        self.where = f"record {number} of {path}"
        self.detail = detail


class Problems:
    """The problems of one dataset, in the order in which they were met.

    Args:
        on_bad: "fail" makes the first problem an error; "skip" remembers each, and whoever reports
            it leaves the thing out.

    Raises:
        DSAError: for another `on_bad`, naming the nearest.
    """

    def __init__(self, on_bad: OnBad = "fail") -> None:
        if on_bad not in get_args(OnBad):
            raise unknown("way to treat what is bad", on_bad, get_args(OnBad))
        self.on_bad: OnBad = on_bad
        self._found: list[Problem] = []

    def report(self, kind: str, where: object, detail: str = "") -> None:
        """Remember that something is wrong, or fail for it.

        Args:
            kind: one of `KINDS`.
            where: the file or record that is wrong; what people need to find it.
            detail: what exactly is wrong, in a few words.

        Raises:
            DSAError: naming it, when `on_bad` is "fail"; for an unknown kind always.
        """
        if kind not in KINDS:
            raise unknown("kind of problem", kind, KINDS)
        problem = Problem(kind, " ".join(str(where).split()), " ".join(detail.split()))
        if self.on_bad == "fail":
            raise DSAError(f"{problem}; mend it, or leave out what is bad with --on-bad skip.")
        self._found.append(problem)

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Report a record that is bad; the body handles one record and raises `BadRecordError`.

        Raises:
            DSAError: naming the record, when `on_bad` is "fail".
        """
        try:
            yield
        except BadRecordError as error:
            self.report(BAD_RECORD, error.where, error.detail)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    @property
    def counts(self) -> dict[str, int]:
        """How many problems of each kind there are, kinds without any left out."""
        counts = Counter(problem.kind for problem in self._found)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def lines(self, named: int = NAMED) -> list[str]:
        """One line for each kind: its count, its first names, and how many more there are."""
        lines = []
        for kind, count in self.counts.items():
            names = [
                f"{p.where} ({p.detail})" if p.detail else p.where
                for p in self._found
                if p.kind == kind
            ]
            more = f" and {count - named:,} more" if count > named else ""
            lines.append(f"{kind}, {count:,} left out: {'; '.join(names[:named])}{more}")
        return lines

    def to_json(self, most: int | None = None) -> dict[str, Any]:
        """`on_bad`, the counts, and the problems themselves, as JSON's types.

        Args:
            most: names at most of each kind; None for all.
        """
        seen: Counter[str] = Counter()
        problems = []
        for problem in self._found:
            seen[problem.kind] += 1
            if most is None or seen[problem.kind] <= most:
                problems.append(asdict(problem))
        return {"on_bad": self.on_bad, "counts": self.counts, "problems": problems}
