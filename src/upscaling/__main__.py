"""``python -m upscaling``."""

from upscaling.cli import main

main()
