"""What an estimate says: one pydantic model, whose JSON schema is published with the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Advice", "Answer", "Basis", "Check", "Cluster", "Estimate", "Interval", "Outlook", "Verdict"]
__all__ += ["no", "unknown", "yes"]

Answer = Literal["yes", "no", "unknown"]
Basis = Literal["rough", "pilot", "finished jobs"]
Verdict = Literal["feasible", "at risk", "not feasible"]


class _Model(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, frozen=True, extra="forbid", use_attribute_docstrings=True)


class Interval(_Model):
    """Quantiles of what is not certain: in 80 of 100 runs the truth lies between p10 and p90."""

    p05: float
    p10: float
    p50: float
    p90: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Make one of five quantiles."""
        p05, p10, p50, p90, p95 = (float(value) for value in values)
        return cls(p05=p05, p10=p10, p50=p50, p90=p90, p95=p95)

    def times(self, factor: float) -> Interval:
        """Return it in another unit."""
        return Interval.of([value * factor for value in (self.p05, self.p10, self.p50, self.p90, self.p95)])


class Check(_Model):
    """Answer to one question that needs no job, of those that decide whether the run is possible."""

    name: str
    """What was asked, e.g. `collections`."""
    answer: Answer
    text: str
    """One line: what was found, and what would be right."""
    key: str = ""
    """Configuration key to change, dotted."""


def yes(name: str, text: str, key: str = "") -> Check:
    """Return a check with this answer."""
    return Check(name=name, answer="yes", text=text, key=key)


def no(name: str, text: str, key: str = "") -> Check:
    """Return a check with this answer."""
    return Check(name=name, answer="no", text=text, key=key)


def unknown(name: str, text: str, key: str = "") -> Check:
    """Return a check with this answer."""
    return Check(name=name, answer="unknown", text=text, key=key)


class Advice(_Model):
    """Something to change, with the number that it rests on."""

    text: str
    key: str = ""
    see: Literal["", "comparison", "failures"] = ""
    """What helps to decide: the comparison of platforms, why tiles failed."""


class Outlook(_Model):
    """Whether a limit is kept.

    `probability` is that of staying within `limit`; the verdict is `feasible` above 0.9 and `at risk` from 0.5.
    """

    limit: float
    probability: float
    verdict: Verdict

    @classmethod
    def of(cls, limit: float, probability: float) -> Outlook:
        """Make one; the verdict follows from the probability."""
        words: Verdict = "feasible" if probability > 0.9 else "at risk" if probability >= 0.5 else "not feasible"
        return cls(limit=limit, probability=probability, verdict=words)


class Cluster(_Model):
    """What a run takes of a cluster, in the units of `sreport` (CPU hours) and of accounts (node hours)."""

    cpu_hours: Interval
    node_hours: Interval | None
    """Where the cores of a node are known."""
    memory_mb: float | None
    """The most that a job used; None where it was not measured."""
    queue_seconds: float | None
    """Median wait of a job in the queue; None where it was not measured."""


class Estimate(_Model):
    """What a run will cost, how long it takes, whether it is possible."""

    version: Literal[1] = 1
    run: str
    made: str
    """RFC 3339."""
    algorithm: str
    platform: str
    basis: Basis
    rests_on: list[str] = Field(default_factory=list)
    """Where the numbers come from and what was assumed, a line each."""
    jobs: int
    finished: int = 0
    failed: int = 0
    tiles: int
    steps: int = 0
    rows: int = 0
    empty: int = 0
    """Jobs without any input, which are not sent."""
    area_km2: float
    """Area of interest, each place once."""
    processed_km2: float
    """Sum over all jobs."""
    slots: int
    currency: str
    cost: Interval | None = None
    """Whole run, what is spent included."""
    spent: float = 0.0
    cost_per_km2: Interval | None = None
    """Cost of the whole run over the area of interest."""
    stated_cost: str = ""
    """What the catalogue record states, read."""
    minimum_charge: float | None = None
    """Lowest cost of a job that was seen."""
    seconds: Interval | None = None
    """Until the last job ends, from now."""
    seconds_per_10000_km2: float | None = None
    """Median job seconds for 100 x 100 km."""
    failure_rate: Interval | None = None
    memory_gb: float | None = None
    result_gb: Interval | None = None
    cluster: Cluster | None = None
    deadline: Outlook | None = None
    """Limit in seconds from now."""
    budget: Outlook | None = None
    verdict: Verdict | None = None
    """The worse of deadline and budget, None without a pilot; `not feasible` as soon as a check says no."""
    verdict_reasons: list[str] = Field(default_factory=list)
    """Lines of the checks that say no, each behind its name."""
    checks: list[Check] = Field(default_factory=list)
    advice: list[Advice] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)

    def checked(self, checks: Sequence[Check]) -> Estimate:
        """Return it with its checks: where one says no, the run is not feasible, whatever the numbers say."""
        against = [f"{check.name}: {check.text}" for check in checks if check.answer == "no"]
        verdict = "not feasible" if against else self.verdict
        return self.model_copy(update={"checks": list(checks), "verdict": verdict, "verdict_reasons": against})

    @property
    def possible(self) -> Answer:
        """No if any check says no, unknown if one of them could not be answered."""
        answers = {check.answer for check in self.checks}
        return "no" if "no" in answers else "unknown" if "unknown" in answers or not answers else "yes"
