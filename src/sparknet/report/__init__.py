"""What a person and a program see of a run: a line about each input, a line a round, and a file of JSON lines."""

from sparknet.report.inputs import input_lines
from sparknet.report.notes import told
from sparknet.report.rounds import EventLog, round_line

__all__ = ["EventLog", "input_lines", "round_line", "told"]
