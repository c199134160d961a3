"""Patches of Snakemake's plugins, one module each, bound to the versions that were tested."""
