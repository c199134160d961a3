"""What a service is, needs and costs, before anything is configured: facts for people and machines. Sends nothing."""

from upscaling.cli.describe.facts import describe
from upscaling.cli.describe.show import configuration, render

__all__ = ["configuration", "describe", "render"]
