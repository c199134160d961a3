"""The demo: generated scenes, the embedded back-end, Snakemake over a small area."""
