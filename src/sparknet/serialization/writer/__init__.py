"""From objects to messages."""
