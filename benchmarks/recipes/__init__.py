"""Recipes for those who have the data and the processors: `python -m benchmarks.recipes.NAME --data FOLDER`, or `--dry-run`."""
