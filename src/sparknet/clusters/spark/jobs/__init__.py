"""Spark sessions and their jobs: how a session is started, and how jobs are run, watched and cancelled."""
