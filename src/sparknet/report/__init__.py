"""Reports of a run: lines about the inputs and the rounds for a person, and the folder of its results."""

from sparknet.report.folder import EVENTS, WEIGHTS, WEIGHTS_OF_CAFFE, check_folder, opened_folder
from sparknet.report.inputs import input_lines
from sparknet.report.notes import collected_log, printed_warnings
from sparknet.report.rounds import round_line

__all__ = [
    "EVENTS",
    "WEIGHTS",
    "WEIGHTS_OF_CAFFE",
    "check_folder",
    "collected_log",
    "input_lines",
    "opened_folder",
    "printed_warnings",
    "round_line",
]
