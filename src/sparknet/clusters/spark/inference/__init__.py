"""A trained net over rows: predict, featurize and evaluate, and what becomes of rows that it cannot compute."""
