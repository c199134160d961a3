"""``python -m upscaling``."""

from upscaling.cli.app import main

main()
