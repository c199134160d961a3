"""Publish a run: its files to S3, its collection and items to a STAC API."""

from upscaling.publish.run import publish

__all__ = ["publish"]
