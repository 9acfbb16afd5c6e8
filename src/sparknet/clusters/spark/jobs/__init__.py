"""Spark sessions and their jobs: starting a session, running a job in it, watching it, and saying in one line what failed."""
