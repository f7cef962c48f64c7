"""Logic shared by the command-line programs in ``scripts/``; imports neither Snakemake nor a GPU library."""
