"""Reading a user's prototxts and rewriting them for sparknet. No net is made here.

The result is a Definition: three texts, one for the solver and one for each phase of its net, without anything that reads or writes
files. Text can be pickled, so a worker needs none of the driver's files. Mistakes at which Caffe would end the process are found
here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sparknet.data.fields import Field
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import NetError
from sparknet.nets.caffe.carried import Carried, carry, without_writers
from sparknet.nets.caffe.changes import changes_of
from sparknet.nets.caffe.engines import drop_engines
from sparknet.nets.caffe.files import Places, read_text, solver_text
from sparknet.nets.caffe.initial import Initial, initial_of, without_weights
from sparknet.nets.caffe.inputs import Shapes
from sparknet.nets.caffe.layers import check_modules, fed_net, in_todays_format, layers_of
from sparknet.nets.caffe.lines import line_of
from sparknet.nets.caffe.notes import noting
from sparknet.nets.caffe.parsing import parse
from sparknet.nets.caffe.rows import ANY, RowRules, rows_of_layers
from sparknet.nets.caffe.runtime import messages, text_format
from sparknet.nets.caffe.schedule import SOLVERS, check_solver
from sparknet.nets.caffe.tested import Phase, one_of, test_nets
from sparknet.nets.caffe.transform import changed_fields, transform_of
from sparknet.nets.caffe.trust import check_trust, checked_trust
from sparknet.nets.caffe.unused import UNUSED, note_unused

__all__ = ["Definition", "define", "without_learned"]

_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param", "train_state", "test_state")
_PHASES = ("TRAIN", "TEST")

Read = Callable[[str, str, str], Any]  # text, kind of message and name of the text -> the message
_SHOWN = 100  # characters of a name in a message


@dataclass(frozen=True)
class Definition:
    """A solver and its net as texts in the prototxt format, ready to be made on any machine.

    Parameters
    ----------
    solver
        A SolverParameter that names no net.
    train, test
        The NetParameter of each phase: only that phase's layers, every input an ``Input`` layer.
    train_transform, test_transform
        The steps of the data layers of each phase on their images.
    train_changes, test_changes
        Input -> the changes to its values in this phase, in words and in order, each with file and line.
    files
        Mark -> the file that a layer opens itself; the marks replace the names of the files in the nets.
    initial
        The layers of each file in the solver's ``weights``; the weights start from them.
    train_rows, test_rows
        The rules for batches of the RDDDataLayers of each phase.
    trust
        Types of layers that the nets may have although they do more than compute.
    """

    solver: str
    train: str
    test: str
    train_transform: Preprocessor | None = None
    test_transform: Preprocessor | None = None
    train_changes: Mapping[str, Sequence[str]] = dataclass_field(default_factory=dict)
    test_changes: Mapping[str, Sequence[str]] = dataclass_field(default_factory=dict)
    files: Carried = dataclass_field(default_factory=dict)
    initial: Initial = dataclass_field(default=(), repr=False)
    train_rows: RowRules = ANY
    test_rows: RowRules = ANY
    trust: tuple[str, ...] = ()


def without_learned(definition: Definition) -> Definition:
    """Return a definition whose training net starts from no file; layers that only the test net has still do."""
    learned = {layer.name for layer in parse(definition.train, "NetParameter", "train net").layer}
    kept = (
        (path, {name: arrays for name, arrays in layers.items() if name not in learned})
        for path, layers in definition.initial
    )
    return replace(definition, initial=tuple((path, layers) for path, layers in kept if layers))


class _Written(NamedTuple):
    """A net as the user wrote it: its message, its name in errors, and the file and text with it.

    ``within`` is the field of the solver that holds the net, if a solver does.
    """

    net: Any
    name: str
    folder: Path
    file: str
    text: str
    within: str = ""


def define(
    solver: str | Path,
    *,
    fields: Sequence[Field] | None = None,
    batch_size: int | None = None,
    solver_overrides: Mapping[str, Any] | None = None,
    ignore_transform: bool = False,
    unknown_fields: str = "error",
    trust: Sequence[str] = (),
) -> Definition:
    """Return the definition of the solver at path (or in text) ``solver``; see CaffeNet.

    Raises
    ------
    NetError
        A file is missing (then also a FileNotFoundError) or malformed, or cannot be used.
    """
    if unknown_fields not in ("error", "drop"):
        msg = f"unknown_fields is {unknown_fields!r}, expected 'error' or 'drop'"
        raise NetError(msg)
    text, where = solver_text(solver)
    allowed = checked_trust(trust)
    read = partial(parse, drop=unknown_fields == "drop")
    folder = Path() if where == "solver" else Path(where).parent
    with noting():
        rest, weights = without_weights(text, where)
        param = read(rest, "SolverParameter", where)
        overrides = _checked_overrides(solver_overrides)
        weights = overrides.pop("weights", weights)
        _override(param, overrides, where)
        train, tests = _nets_of(param, folder, read, where, text)
        if unknown_fields == "drop":
            for written in (train, *(written for written, _ in tests)):
                drop_engines(written.net, written.name)
        train_state = messages().NetState()
        train_state.CopyFrom(param.train_state)
        note_unused(param, where)
        _clean(param, where)
        check_solver(param, where)

        def made(phase: int, written: _Written, state: Any) -> Phase:
            whole, places = _state(phase, written.net.state, state), Places(folder, written.folder)
            return _phase(written, whole, places, fields or (), batch_size, allowed, transformed=not ignore_transform)

        in_train, in_test = made(0, train, train_state), one_of(tests, partial(made, 1))
    names = [layer.name for phase in (in_train, in_test) for layer in phase.net.layer]
    places = Places(folder, train.folder, *(written.folder for written, _ in tests))
    as_text = text_format().MessageToString
    return Definition(
        solver=as_text(param),
        train=as_text(in_train.net),
        test=as_text(in_test.net),
        train_transform=in_train.transform,
        test_transform=in_test.transform,
        train_changes=in_train.changes,
        test_changes=in_test.changes,
        files=in_train.files | in_test.files,
        initial=initial_of(weights, names, places, where),
        train_rows=in_train.rows,
        test_rows=in_test.rows,
        trust=allowed,
    )


def _phase(
    written: _Written,
    state: Any,
    places: Places,
    fields: Sequence[Field],
    batch_size: int | None,
    trust: Sequence[str],
    *,
    transformed: bool,
) -> Phase:
    """Return the Phase of a net; its data layers change images only if ``transformed``."""
    try:
        layers = without_writers(layers_of(written.net, state), written.name)
        transform = transform_of(layers, places.find, train=not state.phase) if transformed else None
        reaching = changed_fields(fields, layers, transform)
        changes = changes_of(layers, transform, partial(_place, written))
        net = fed_net(written.net, layers, Shapes(reaching, batch_size))
        old = len(net.layer) - len(layers)  # inputs of old nets come first
        check_trust(net.layer, trust, lambda i: _place(written, layers[i - old], ("module", "type")))
        check_modules(net.layer)
        return Phase(net, transform, changes, carry(net, places), rows_of_layers(layers, batch_size, reaching, net))
    except NetError as error:
        raise error.placed(f"{written.name}, {_PHASES[state.phase]} phase") from None


def _place(written: _Written, layer: Any, names: Sequence[str]) -> str:
    """Return the place of one of these fields of ``layer``, as in " (net.prototxt:12)"; "" if it cannot be found."""
    every = in_todays_format(written.net)
    if layer not in every or len(every) != len(written.net.layer or written.net.layers):
        return ""
    number = every.index(layer)
    lines = (line_of(written.text, number, name, written.within) for name in names)
    line = next((line for line in lines if line is not None), None)
    return "" if line is None else f" ({Path(written.file).name}:{line})"


def _nets_of(param: Any, folder: Path, read: Read, *solver: str) -> tuple[_Written, list[tuple[_Written, Any]]]:
    """Return the train net and the test nets, each of these with its state; ``solver`` is the file and text of the solver."""
    train = list(_named(param, folder, read, solver, "net", "train_net"))
    if len(train) != 1:
        got = ", ".join(written.name for written in train) or "none"
        msg = f"a solver names its net once, by one of net, net_param, train_net, train_net_param; got {got}"
        raise NetError(msg)
    own = list(_named(param, folder, read, solver, "test_net"))
    return train[0], test_nets(param, own, train[0], has_net=param.HasField("net") or param.HasField("net_param"))


def _named(param: Any, folder: Path, read: Read, solver: Sequence[str], *fields: str) -> Iterator[_Written]:
    """Yield the nets under ``fields``: inline, or in a file."""
    for field in fields:
        repeated = field == "test_net"
        inline = getattr(param, f"{field}_param")
        yield from (
            _Written(net, f"{field}_param", folder, solver[0], solver[1], f"{field}_param")
            for net in (inline if repeated else [inline] * param.HasField(f"{field}_param"))
        )
        for name in getattr(param, field) if repeated else [getattr(param, field)] * param.HasField(field):
            what = f"net prototxt ({field}: {name[:_SHOWN]!r})"
            path = Places(folder).find(name, what)
            text = read_text(path, what)
            yield _Written(read(text, "NetParameter", str(path)), str(path), path.parent, str(path), text)


def _state(phase: int, *states: Any) -> Any:
    """Return Caffe's NetState: the phase, merged with the states of the net and of the solver."""
    out = messages().NetState(phase=phase)
    for state in filter(None, states):
        out.MergeFrom(state)
    out.phase = phase
    return out


def _checked_overrides(solver_overrides: Any) -> dict[str, Any]:
    """Return the overrides in a dict of their own; a NetError unless they are a mapping, or None."""
    if not isinstance(solver_overrides, Mapping | None):
        msg = f"solver_overrides: got {solver_overrides!r:.60}, expected a mapping from fields of the solver to values, such as {{'base_lr': 0.01}}"
        raise NetError(msg)
    return dict(solver_overrides or {})


def _override(param: Any, overrides: Mapping[str, Any], where: str) -> None:
    """Set fields of the solver; lists replace."""
    names = [field.name for field in param.DESCRIPTOR.fields]
    for name, value in overrides.items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            msg = f"{where}: solver_overrides has {name!r}, which no solver has" + (f"; {near[0]!r}?" if near else "")
            raise NetError(msg)
        if name == "solver_mode" and value not in ("CPU", 0):
            msg = f"{where}: solver_mode {value!r} was asked for; the Caffe that sparknet builds runs on the CPU alone"
            raise NetError(msg)
        param.ClearField(name)
        try:
            param.MergeFrom(type(param)(**{name: value}))
        except (TypeError, ValueError) as error:
            msg = f"{where}: solver_overrides has {name} = {value!r}: {error}"
            raise NetError(msg) from error


def _clean(param: Any, where: str) -> None:
    """Clear the solver's nets and the fields that sparknet replaces; upgrade ``solver_type: NESTEROV`` to ``type: "Nesterov"``."""
    if param.HasField("solver_type") and param.HasField("type"):
        msg = f"{where}: got type {param.type!r} and the old solver_type; Caffe takes one of them"
        raise NetError(msg)
    if param.HasField("solver_type"):
        param.type = SOLVERS[param.solver_type]
    for field, _ in param.ListFields():
        if field.name in (*_NETS, *UNUSED, "solver_type"):
            param.ClearField(field.name)
    param.snapshot_after_train = False
    param.solver_mode = 0  # CPU
