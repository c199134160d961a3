"""What a service is, needs and costs, before anything is configured: facts for people and machines. Sends nothing."""

from upscaling.describe.facts import describe
from upscaling.describe.show import render

__all__ = ["describe", "render"]
