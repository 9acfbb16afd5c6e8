"""Moving bytes, whatever they mean: fresh and kept memory, several cores, checksums, streams. It knows nothing of messages."""
