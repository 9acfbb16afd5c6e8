"""Errors in the words of the command: the library's messages name arguments of Python, which a user of the command does not have."""

import re

from sparknet.errors import SparknetError

__all__ = ["error_text", "for_command"]

_SHOWN = 100  # characters of a file name in a message

# What the library says -> what the command says. A test makes each mistake.
_WORDS = (
    (r"max_bytes=(\d+)", r"--max-bytes \1"),
    (r"Convert it before, for example with astype\('(\w+)'\), or by .*?\)", r"Give --dtype \1"),
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
    (r"pass trust=\(.*?\), in the command (--trust \S+)", r"give \1"),
    (r"\btrust has", "--trust has"),
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
    (r"on_nonfinite='(\w+)'", r"--on-nonfinite \1"),
    (r"a batch size of (\d+) fits", r"--batch-size \1 fits"),
    (r"\bcheckpoint=", "--checkpoint "),
    (r"\bresume=False", "--resume no"),
    (r"\breplay has", "--replay has"),
    (r"\breplay: ", "--replay: "),
    (r"\brounds=(\d+)", r"--rounds \1"),
    (r"\bgive rule= as it was", "give --rule as it was"),
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


def error_text(error: Exception) -> str:
    """Return an error in one line and in the words of the command.

    An error of the operating system loses its number, and a long file name is shortened.

    Examples
    --------
    >>> error_text(FileNotFoundError(2, "No such file or directory", "a.npz"))
    "No such file or directory: 'a.npz'"
    """
    if isinstance(error, OSError) and not isinstance(error, SparknetError) and error.strerror and error.filename:
        name = str(error.filename)
        return f"{error.strerror}: {name if len(name) <= _SHOWN else name[: _SHOWN - 20] + '...' + name[-17:]!r}"
    return for_command(" ".join(str(error).split()))
