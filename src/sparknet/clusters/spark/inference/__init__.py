"""Inference over rows: predict, featurize and evaluate, and what happens to rows that the net cannot compute."""
