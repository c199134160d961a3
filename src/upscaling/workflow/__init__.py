"""What the Snakefile and the rule scripts call, and patches of Snakemake's plugins."""
