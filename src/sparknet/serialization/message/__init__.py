"""A message but for its elements: its header, where each byte lies, and how its structure is checked."""
