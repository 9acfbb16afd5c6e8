"""Errors in the words of the command: the library's name arguments of Python, which who types a command does not have."""

import re

__all__ = ["for_command"]

# What the library says -> what the command says. Each is met by a test that makes the mistake.
_WORDS = (
    (r"max_bytes=(\d+)", r"--max-bytes \1"),
    (r"pass batch_size=", "give --batch-size"),
    (
        r"pass fields=\[Field\('(.*?)', shape_of_one_example\), \.\.\.\] \(fields given: (.*?)\)",
        r"--data has \2: call the top so",
    ),
    (r"the field given is", "--data has"),
    (r"Decode them so: sparknet.data.preprocess has Decode and Grayscale", "Give --data such images"),
    (r"; or multiply the loss by an input and name it \(weight=\)", ""),
    (r"\b(averaged_sgd|padding|pack|step|forward)\(\):? ?", ""),
    (r"does not fit the fields given", "does not fit the images of --data"),
    (
        r"change the images yourself, with a preprocessor of your own, and pass ignore_transform=True",
        "take it out of the prototxt and change the image files before, or train by a program with a preprocessor of its own",
    ),
    (r"unknown_fields='drop', in the command --drop-unknown-fields", "--drop-unknown-fields"),
    (
        r"packed with ragged='drop' it is left out, with 'pad' filled up",
        "--ragged drop leaves it out, --ragged pad fills it up",
    ),
    (r"ragged='(\w+)' or '(\w+)'", r"--ragged \1 or \2"),
    (r"ragged='(\w+)'", r"--ragged \1"),
    (
        r"say Field\(\.\.\., batch_axis=(\d+)\)",
        r"train by a program, which can say of a field that its batch is on axis \1",
    ),
    (r", on_nonfinite='warn' goes on with what there is", ""),
    (r"on_nonfinite='(\w+)'", r"--on-nonfinite \1"),
    (r"a batch size of (\d+) fits", r"--batch-size \1 fits"),
    (r"solver_overrides has base_lr = (\S+):", r"--learning-rate \1:"),
)


def for_command(message: str) -> str:
    """Return an error message of the library in the words of the command.

    Examples
    --------
    >>> for_command("the limit is 7999. Pass max_bytes=8000 if you trust where it comes from")
    'the limit is 7999. Pass --max-bytes 8000 if you trust where it comes from'
    """
    for said, meant in _WORDS:
        message = re.sub(said, meant, message)
    return message
