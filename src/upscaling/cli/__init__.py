"""The command line ``upscaling``: one module per group of commands."""
