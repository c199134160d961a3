"""The blocks ``mosaic`` and ``publish`` of the configuration: what is made of the collection, and where it goes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from upscaling.config.collection import Block, WebUrl

__all__ = ["Mosaic", "Publish"]

Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]


class Mosaic(Block):
    """One raster over all tiles. An index that GDAL and QGIS open as a raster is always made."""

    cog: bool = False
    """Also write each mosaic as one cloud-optimised GeoTIFF, `mosaic/<asset>.tif`."""
    per_band: bool = False
    """One such file per band, `mosaic/<asset>_<band>.tif`, instead of one with all bands."""
    crs: str | None = Field(None, pattern=r"^EPSG:\d+$", examples=["EPSG:3035"])
    """CRS of that file; that of the tiles when left out, EPSG:4326 where they have several."""
    resolution: float | None = Field(None, gt=0)
    """Its pixel size in units of its CRS; the finest of the tiles when left out."""
    resampling: Resampling = "nearest"
    """How pixels get there. `nearest` leaves values as they are; classes want `nearest` or `mode`."""

    @model_validator(mode="after")
    def _for_the_cog(self) -> Mosaic:
        if not self.cog and (self.crs or self.resolution or self.per_band):
            raise ValueError("crs, resolution and per_band are about the COG; add `cog: true`")
        return self


class Publish(Block):
    """Where `snakemake publish` puts the collection. It is never published by itself."""

    s3: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?$", examples=["s3://bucket/ndvi"])
    """Bucket and prefix. Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION; secrets
    never stand here."""
    endpoint: WebUrl | None = None
    """Address of the object storage where it is not AWS's own."""
    public_url: WebUrl | None = None
    """Where the prefix can be read by everybody; hrefs begin with it. Links are to `s3://` when left out."""
    stac_api: WebUrl | None = None
    """STAC API with the transaction extension in which the collection and its items are registered. Token:
    UPSCALING_STAC_TOKEN."""
    auth_read: list[str] = Field([])
    """For the APEx Product Catalogue: who may read the collection there (`_auth`), e.g. `[anonymous]`."""
    auth_write: list[str] = Field([])
    """For the APEx Product Catalogue: who may change it."""

    @field_validator("s3", "endpoint", "public_url", "stac_api")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else value
