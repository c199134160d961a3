"""Who started what: users, numbers and names of tasks. What became of a task is in its run folder, not here."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    create_engine,
    event,
    func,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from upscaling.errors import UpscalingError

__all__ = ["BACKEND_KINDS", "Store", "Task", "now"]

BACKEND_KINDS = {"openeo": "openeo", "ogc_api_process": "ogcapi"}  # of the contract's labels
_MOST_KNOWN = 10_000  # tasks in memory
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up in columns of type INTEGER only


def now() -> dt.datetime:
    """Return the time in UTC, without a zone, as the contract writes it."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


class _Base(DeclarativeBase):
    pass


class Counter(_Base):
    """The last number that was given away, so that every tile has one without a row of its own."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class Task(_Base):
    """One run: who asked for it, and where its folder is.

    Attributes
    ----------
    kind
        ``upscaling``, ``unit`` (one job of the Dispatch API) or ``run`` (from a whole configuration).
    first_job, jobs
        Its tiles have the numbers ``first_job`` to ``first_job + jobs - 1``.
    """

    __tablename__ = "tasks"
    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    user: Mapped[str] = mapped_column(String(200), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(2000))
    label: Mapped[str] = mapped_column(String(40))
    service: Mapped[dict[str, Any]] = mapped_column(JSON)
    run: Mapped[str] = mapped_column(String(100))
    created: Mapped[dt.datetime] = mapped_column(DateTime, default=now)
    updated: Mapped[dt.datetime] = mapped_column(DateTime, default=now)
    first_job: Mapped[int] = mapped_column(BigInteger, index=True)
    jobs: Mapped[int] = mapped_column(Integer)
    fingerprint: Mapped[str] = mapped_column(String(64))
    idempotency: Mapped[str | None] = mapped_column(String(200))
    ended: Mapped[bool] = mapped_column(default=False)
    archived: Mapped[bool] = mapped_column(default=False)
    costs: Mapped[float | None] = mapped_column(Float)

    @property
    def backend_kind(self) -> str:
        """Kind of the back-end that it runs on, as configurations name it."""
        return BACKEND_KINDS.get(self.label, self.label)

    __table_args__ = (
        Index("by_idempotency", "user", "idempotency", unique=True),
        Index("by_content", "user", "fingerprint"),
    )


class DeletedJob(_Base):
    """A tile whose record a user deleted; its number is not given again."""

    __tablename__ = "deleted_jobs"
    job: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)


class AuditEntry(_Base):
    """Who did what, when."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    time: Mapped[dt.datetime] = mapped_column(DateTime, default=now)
    user: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(40))
    task: Mapped[int | None] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(String(2000), default="")


class Store:
    """The database of a service; safe to use from many threads.

    Parameters
    ----------
    url
        SQLAlchemy address of a SQLite file or a PostgreSQL database. Tables are made where they are missing.
    """

    def __init__(self, url: str) -> None:
        sqlite = url.startswith("sqlite")
        options: dict[str, Any] = {"connect_args": {"timeout": 30}} if sqlite else {"pool_pre_ping": True}
        self._known: dict[int, Task] = {}  # this process alone changes tasks
        self._changes = 0
        self._lock = threading.Lock()
        engine = create_engine(url, **options)
        self.session = sessionmaker(engine, expire_on_commit=False).begin  # committed at the end, or rolled back
        if sqlite:
            event.listen(engine, "connect", _for_many_threads)
        try:
            _Base.metadata.create_all(engine)
            with self.session() as session:
                if session.get(Counter, "jobs") is None:
                    session.add(Counter(name="jobs", value=0))
        except IntegrityError:
            pass  # another process began at the same moment
        except OperationalError as error:
            raise UpscalingError(f"the database cannot be used: {str(error.orig).splitlines()[0]}") from None

    def check(self) -> None:
        """Ask the database for an answer; raise what it raises."""
        with self.session() as session:
            session.execute(text("SELECT 1"))

    def add(self, task: Task) -> Task:
        """Keep a new task, and give its tiles their numbers.

        Raises
        ------
        IntegrityError
            If the user has a task with this idempotency key.
        """
        with self.session() as session:
            step = update(Counter).where(Counter.name == "jobs").values(value=Counter.value + task.jobs)
            last = session.execute(step.returning(Counter.value)).scalar_one()
            task.first_job = last - task.jobs + 1
            session.add(task)
        return task

    def known(self, task_id: int) -> Task | None:
        """Return a task if it is in memory."""
        return self._known.get(task_id)

    def task(self, task_id: int) -> Task | None:
        """Return a task by its number; it is read once, and again after a change."""
        known, changes = self._known.get(task_id), self._changes
        if known is not None or abs(task_id) >= 2**63:
            return known
        with self.session() as session:
            found = session.get(Task, task_id)
        with self._lock:
            if found is not None and changes == self._changes:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[task_id] = found
        return found

    def task_of_job(self, job: int) -> Task | None:
        """Return the task that a tile belongs to, unless the tile was deleted."""
        if not 0 < job < 2**63:
            return None
        with self.session() as session:
            if session.get(DeletedJob, job) is not None:
                return None
            below = select(Task).where(Task.first_job <= job).order_by(Task.first_job.desc()).limit(1)
            task = session.scalars(below).first()
            return task if task is not None and job < task.first_job + task.jobs else None

    def tasks(self, user: str | None = None, *, active: bool = False) -> list[Task]:
        """Return tasks, oldest first: of one user or of all; with ``active`` those that have not ended."""
        query = select(Task).order_by(Task.id)
        query = query.where(Task.user == user) if user is not None else query
        query = query.where(Task.ended.is_(False)) if active else query
        with self.session() as session:
            return list(session.scalars(query))

    def same(self, user: str, *, fingerprint: str, idempotency: str | None, since: dt.datetime) -> Task | None:
        """Return the task that a repeated request means, or None if it is a new one."""
        with self.session() as session:
            if idempotency is not None:
                key = select(Task).where(Task.user == user, Task.idempotency == idempotency)
                return session.scalars(key).first()
            alike = select(Task).where(Task.user == user, Task.fingerprint == fingerprint, Task.created >= since)
            return session.scalars(alike.where(Task.archived.is_(False)).order_by(Task.id.desc())).first()

    def change(self, task_id: int, **values: Any) -> None:
        """Change what is kept of a task."""
        with self.session() as session:
            session.execute(update(Task).where(Task.id == task_id).values(**values))
        with self._lock:
            self._changes += 1
            self._known.pop(task_id, None)

    def delete_job(self, task: Task, job: int) -> None:
        """Forget the record of one tile."""
        with self.session() as session:
            session.merge(DeletedJob(job=job, task=task.id))

    def deleted_jobs(self, task_id: int) -> set[int]:
        """Return the numbers of a task's deleted tiles."""
        with self.session() as session:
            return set(session.scalars(select(DeletedJob.job).where(DeletedJob.task == task_id)))

    def spent(self, user: str, since: dt.datetime) -> float:
        """Return what a user's tasks have cost since a day."""
        with self.session() as session:
            costs = select(func.sum(Task.costs)).where(Task.user == user, Task.created >= since)
            return float(session.scalar(costs) or 0.0)

    def write_down(self, user: str, action: str, task: int | None = None, detail: str = "") -> None:
        """Add a line to the audit log."""
        with self.session() as session:
            session.add(AuditEntry(user=user, action=action, task=task, detail=detail[:2000]))


def _for_many_threads(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
