"""Reads what `torch.save` wrote, without executing it.

A pickle is a program: Python's own unpickler imports what it names and calls it. This one is an
interpreter of its own for the few instructions that tensors, containers and modules need. It
imports nothing and calls nothing that a file names: a tensor is rebuilt by the code below, a
module becomes a `Record` of its attributes, and any other name is refused with an ArtefactError
that says which. Memory is bounded by the size of the file.

Both of torch's formats are read: the stream of pickles that `torch.save` wrote before torch 1.6,
and the zip archive it writes since.
"""

import io
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import torch
from torch import Tensor

from mdf.errors import ArtefactError

MAX_BYTES = 256 * 1024 * 1024
MAX_INSTRUCTIONS = 1_000_000

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

_STORAGE_TYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
}


@dataclass(frozen=True)
class Global:
    """A name that a pickle mentions, `module.name`; never imported."""

    name: str


@dataclass
class Record:
    """An object of a class that is only named: its attributes, without its behaviour."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


def is_torch_file(content: bytes) -> bool:
    """Whether the bytes look like a zip or a pickle, which `torch.save` writes."""
    return content.startswith((b"PK\x03\x04", b"\x80"))


def load(content: bytes, *, classes: frozenset[str] = frozenset()) -> Any:
    """The object in `content`: tensors on the CPU, containers, numbers, texts and Records.

    Args:
        content: a whole file written by `torch.save`.
        classes: full names of the classes whose objects are read as Records.

    Raises: ArtefactError that names what is refused or damaged.
    """
    if len(content) > MAX_BYTES:
        raise ArtefactError(f"the file has {len(content)} bytes; at most {MAX_BYTES} are read")
    read = _read_archive if content.startswith(b"PK") else _read_stream
    try:
        return read(content, classes)
    except (
        ValueError,  # pickletools: truncated or not a pickle
        TypeError,  # pickletools and the interpreter: operands of a wrong type
        LookupError,  # the interpreter: an empty stack or an unknown memo; zipfile: no such entry
        EOFError,
        OverflowError,  # torch: a stride beyond 64 bits
        NotImplementedError,  # zipfile: an unknown compression
        RuntimeError,  # zipfile: encrypted; torch: a shape beyond 64 bits
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise ArtefactError(f"the file is damaged or not written by torch.save: {error}") from None


def _read_stream(content: bytes, classes: frozenset[str]) -> Any:
    """Before torch 1.6: five pickles (magic, protocol, system, object, keys), then the numbers."""
    stream = io.BytesIO(content)
    plain = _Interpreter(len(content), frozenset())
    if plain.run(stream) != LEGACY_MAGIC or plain.run(stream) != LEGACY_PROTOCOL:
        raise ArtefactError("the file is not a stream of torch.save: its magic number is wrong")
    if plain.run(stream)["little_endian"] is not True:
        raise ArtefactError("the file was written on a big-endian machine, which is not supported")
    interpreter = _Interpreter(len(content), classes)
    value = interpreter.run(stream)
    for key in plain.run(stream):
        storage = interpreter.storages.pop(key)
        (numbers,) = struct.unpack("<q", stream.read(8))
        if numbers != storage.numel():
            raise ArtefactError("the file is damaged: two sizes are given for one tensor")
        _fill(storage, stream)
    if interpreter.storages:
        raise ArtefactError("the file is truncated: it lacks the numbers of a tensor")
    return value


def _read_archive(content: bytes, classes: frozenset[str]) -> Any:
    """Since torch 1.6: a zip, uncompressed, with `data.pkl` and `data/0`, `data/1`, …"""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if "data.pkl" not in entries:
            raise ArtefactError("the zip archive was not written by torch.save: no data.pkl in it")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ArtefactError("the zip archive is compressed; torch.save writes it uncompressed")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise ArtefactError(
                "the file was written on a big-endian machine, which is not supported"
            )
        interpreter = _Interpreter(len(content), classes)
        with archive.open(entries["data.pkl"]) as stream:
            value = interpreter.run(stream)
        for key, storage in interpreter.storages.items():
            with archive.open(entries[f"data/{key}"]) as stream:
                _fill(storage, stream)
    return value


def _fill(storage: Tensor, stream: IO[bytes]) -> None:
    size = storage.numel() * storage.element_size()
    raw = stream.read(size)
    if len(raw) != size:
        raise ArtefactError("the file is truncated: it ends within the numbers of a tensor")
    if size:
        storage.copy_(torch.frombuffer(bytearray(raw), dtype=storage.dtype))


class _Interpreter:
    """A stack machine for the instructions of a pickle that torch.save writes.

    `storages` collects the flat tensors that the pickle mentions; their numbers lie elsewhere in
    the file and are filled in afterwards. `budget` bounds their bytes by the file's.
    """

    def __init__(self, budget: int, classes: frozenset[str]) -> None:
        self.storages: dict[str, Tensor] = {}
        self._budget = budget
        self._classes = classes
        self._names = classes | _STORAGE_TYPES.keys() | _CALLS.keys()

    def run(self, stream: IO[bytes]) -> Any:
        """Interpret one pickle, leaving the stream just behind it."""
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_INSTRUCTIONS:
                raise ArtefactError(f"the pickle has more than {MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise ArtefactError("the file is truncated: a pickle ends without its last instruction")

    def _step(self, name: str, argument: Any) -> None:  # noqa: PLR0912 - one case per instruction
        stack = self._stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "MARK":
                self._marks.append(len(stack))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._update(self._pop(2))
            case "SETITEMS":
                self._update(self._pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._global(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                module, qualified = self._pop(2)
                stack.append(self._global(f"{module}.{qualified}"))
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "NEWOBJ":
                named, arguments = self._pop(2)
                stack.append(self._record(named, arguments))
            case "REDUCE":
                named, arguments = self._pop(2)
                stack.append(self._call(named, arguments))
            case "BUILD":
                (state,) = self._pop(1)
                self._build(stack[-1], state)
            case _:
                raise ArtefactError(f"the pickle has an instruction that is refused: {name}")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count + (self._marks[-1] if self._marks else 0):
            raise ArtefactError("the file is damaged: an instruction lacks its operands")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        mark = self._marks.pop()
        taken = self._stack[mark:]
        del self._stack[mark:]
        return taken

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ArtefactError("the file is damaged: items are appended to what is not a list")
        self._stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        target, keys = self._stack[-1], items[::2]
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
            raise ArtefactError("the file is damaged: it has a dictionary whose keys are not texts")
        target.update(zip(keys, items[1::2], strict=True))

    def _global(self, name: str) -> Global:
        if name not in self._names:
            raise ArtefactError(
                f"the pickle names {name!r:.120}, which is refused: a loss file needs nothing but "
                "tensors, containers and the modules of its discriminators"
            )
        return Global(name)

    def _record(self, named: Any, arguments: Any) -> Record:
        if not isinstance(named, Global) or named.name not in self._classes or arguments != ():
            raise ArtefactError("the pickle builds an object in a way that is refused")
        return Record(named.name)

    def _call(self, named: Any, arguments: Any) -> Any:
        if not isinstance(named, Global) or named.name not in _CALLS:
            shown = named.name if isinstance(named, Global) else type(named).__name__
            raise ArtefactError(f"the pickle calls {shown}, which is refused")
        return _CALLS[named.name](*arguments)

    @staticmethod
    def _build(target: Any, state: Any) -> None:
        if isinstance(target, dict):
            return  # the `_metadata` of a state dict: version numbers of modules
        if not isinstance(target, Record) or not isinstance(state, dict):
            raise ArtefactError("the pickle sets attributes of what is not a module")
        target.state.update(state)

    def _persistent(self, reference: Any) -> Any:
        match reference:
            case ("module", Global() as named, *_):  # with its source text: unused
                return named
            case ("storage", Global(name), str(key), str(), int(numbers), *views) if (
                name in _STORAGE_TYPES and views in ([], [None])
            ):
                return self._storage(key, _STORAGE_TYPES[name], numbers)
        raise ArtefactError("the pickle refers to something that is neither module nor storage")

    def _storage(self, key: str, dtype: torch.dtype, numbers: int) -> Tensor:
        if key not in self.storages:
            size = numbers * dtype.itemsize
            if not 0 <= size <= self._budget:
                raise ArtefactError(
                    f"the pickle declares a tensor of {numbers} numbers, more than the file holds"
                )
            self._budget -= size
            self.storages[key] = torch.empty(numbers, dtype=dtype)
        if (self.storages[key].dtype, self.storages[key].numel()) != (dtype, numbers):
            raise ArtefactError("the pickle declares one storage in two ways")
        return self.storages[key]


def _ordered_dict(pairs: Any = ()) -> dict[str, Any]:
    if pairs:
        raise ArtefactError("the pickle builds a dictionary in a way that is refused")
    return {}


def _set(items: list[str]) -> frozenset[str]:
    if not all(isinstance(item, str) for item in items):
        raise ArtefactError("the pickle builds a set of what is not text")
    return frozenset(items)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage, within its bounds and not larger than it."""
    whole = [offset, *shape, *stride]
    if not isinstance(storage, Tensor) or not all(isinstance(n, int) and n >= 0 for n in whole):
        raise ArtefactError("the file is damaged: a tensor without storage or with a bad shape")
    numbers, last = 1, offset
    for side, step in zip(shape, stride, strict=True):
        numbers *= side
        last += (side - 1) * step
    if numbers > storage.numel() or (numbers and last >= storage.numel()):
        raise ArtefactError("the file is damaged: a tensor reaches beyond its storage")
    return storage.as_strided(shape, stride, offset)


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


# All that a pickle can have called; the names are those it mentions, the code is ours.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "__builtin__.set": _set,
    "builtins.set": _set,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
