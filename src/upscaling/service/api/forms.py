"""The bodies of the Dispatch API: what is sent and what is answered, field by field as its contract has them."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "BaseJobRequest",
    "ErrorResponse",
    "GeometryCollection",
    "JobsFilter",
    "JobsStatusResponse",
    "ParamRequest",
    "Parameter",
    "ParameterDimension",
    "ProcessingJob",
    "ProcessingJobSummary",
    "ServiceDetails",
    "TileRequest",
    "UpscalingTask",
    "UpscalingTaskRequest",
    "UpscalingTaskSummary",
]


class ProcessTypeEnum(StrEnum):
    """Kinds of services."""

    OPENEO = "openeo"
    OGC_API_PROCESS = "ogc_api_process"


class ProcessingStatusEnum(StrEnum):
    """States of jobs and tasks."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELED = "canceled"
    FAILED = "failed"
    UNKNOWN = "unknown"


class OutputFormatEnum(StrEnum):
    """Formats of results."""

    GEOJSON = "geojson"
    GTIFF = "gtiff"
    NETCDF = "netcdf"
    JSON = "json"


class JobsFilter(StrEnum):
    """What ``/jobs_status`` lists."""

    UPSCALING = "upscaling"
    PROCESSING = "processing"


class ParamTypeEnum(StrEnum):
    """Types of parameters."""

    DATETIME = "datetime"
    DATE_INTERVAL = "date-interval"
    BOUNDING_BOX = "bounding-box"
    POLYGON = "polygon"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DOUBLE = "double"
    STRING = "string"
    ARRAY_STRING = "array-string"


class ErrorResponse(BaseModel):
    """What is answered where a request is refused."""

    status: str = "error"
    error_code: str
    message: str
    details: dict[str, Any] | None = None
    request_id: str | None = None


class ServiceDetails(BaseModel):
    """Where an algorithm is: its platform and its address or id there."""

    endpoint: str = Field(max_length=2000)
    namespace: str | None = Field(None, max_length=500)
    application: str = Field(max_length=2000)


class BaseJobRequest(BaseModel):
    """One job."""

    title: str = Field(max_length=2000)
    label: ProcessTypeEnum
    service: ServiceDetails
    parameters: dict[str, Any]
    format: OutputFormatEnum | None = None


class ParameterDimension(BaseModel):
    """The parameter that differs from tile to tile, and its values."""

    name: str = Field(max_length=200)
    values: list[Any] = Field(min_length=1)


class UpscalingTaskRequest(BaseJobRequest):
    """One job for each value of a parameter."""

    dimension: ParameterDimension


class ProcessingJobSummary(BaseModel):
    """A job in a list."""

    model_config = ConfigDict(extra="allow")
    id: int
    title: str
    label: ProcessTypeEnum
    status: ProcessingStatusEnum
    service: ServiceDetails
    parameters: dict[str, Any]


class ProcessingJob(ProcessingJobSummary):
    """A job."""

    created: dt.datetime
    updated: dt.datetime


class UpscalingTaskSummary(BaseModel):
    """A task in a list."""

    model_config = ConfigDict(extra="allow")
    id: int
    title: str
    label: ProcessTypeEnum
    status: ProcessingStatusEnum


class UpscalingTask(UpscalingTaskSummary):
    """A task with its jobs."""

    service: ServiceDetails
    created: dt.datetime
    updated: dt.datetime
    jobs: list[ProcessingJobSummary]


class JobsStatusResponse(BaseModel):
    """All tasks and single jobs of a user."""

    upscaling_tasks: list[UpscalingTaskSummary]
    processing_jobs: list[ProcessingJobSummary]


class TileRequest(BaseModel):
    """An area and the grid to cut it by."""

    aoi: dict[str, Any]
    grid: str = Field(max_length=100)


class GeometryCollection(BaseModel):
    """Tiles."""

    model_config = ConfigDict(extra="allow")
    type: Literal["GeometryCollection"]
    geometries: list[dict[str, Any]]


class ParamRequest(BaseModel):
    """The algorithm whose parameters are asked for."""

    label: ProcessTypeEnum
    service: ServiceDetails


class Parameter(BaseModel):
    """A parameter of an algorithm."""

    name: str
    type: ParamTypeEnum
    optional: bool
    description: str
    default: Any = None
    options: list[Any] = []
