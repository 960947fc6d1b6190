"""Asks SavedModels as TensorFlow Serving does: by TensorFlow's C library, without its Python.

    python c_api_side.py

reads requests, a line of JSON each, and writes a line for each.  A request has the `folder` of a
SavedModel, the name of a `signature` and `inputs`, lists of strings by name.  What is written has
`outputs` by name, each with its `dtype`, `shape` and `values`, or an `error`; and the `packages`
that this process has imported.

The library is that of the installed wheel; of tensorflow-text, it loads what TensorFlow Serving's
copy has too and exports may use.  The C API is described in `include/tensorflow/c` of the wheel.
"""

import ctypes
import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

# Of `SERVABLE_CUSTOM_OPS`.
OPERATIONS = (
    "fast_bert_normalizer",
    "fast_wordpiece_tokenizer",
    "normalize_ops",
    "regex_split_ops",
    "wordpiece_tokenizer",
)
STRING = 7  # TF_STRING of TF_DataType
DTYPES = {1: "float32", 3: "int32", 9: "int64", 10: "bool"}
STRING_SIZE = 24  # of a TF_TString, in bytes
# Numbers of fields: of MetaGraphDef, of SignatureDef, of the entry of a map and of TensorInfo.
SIGNATURES, INPUTS, OUTPUTS, KEY, VALUE, NAME = 5, 1, 2, 1, 2, 1


class Output(ctypes.Structure):
    """TF_Output: one of the tensors that an operation gives."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class Buffer(ctypes.Structure):
    """TF_Buffer: bytes, and what frees them."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


# What each function gives, and what it takes.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "TF_NewStatus": (c_void_p,),
    "TF_GetCode": (c_int, c_void_p),
    "TF_Message": (c_char_p, c_void_p),
    "TF_DeleteStatus": (None, c_void_p),
    "TF_LoadLibrary": (c_void_p, c_char_p, c_void_p),
    "TF_NewBuffer": (POINTER(Buffer),),
    "TF_DeleteBuffer": (None, POINTER(Buffer)),
    "TF_NewGraph": (c_void_p,),
    "TF_DeleteGraph": (None, c_void_p),
    "TF_GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "TF_NewSessionOptions": (c_void_p,),
    "TF_DeleteSessionOptions": (None, c_void_p),
    "TF_LoadSessionFromSavedModel": (
        *(c_void_p, c_void_p, c_void_p, c_char_p),
        *(POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p),
    ),
    "TF_SessionRun": (
        *(None, c_void_p, c_void_p),
        *(POINTER(Output), POINTER(c_void_p), c_int),
        *(POINTER(Output), POINTER(c_void_p), c_int),
        *(c_void_p, c_int, c_void_p, c_void_p),
    ),
    "TF_DeleteSession": (None, c_void_p, c_void_p),
    "TF_AllocateTensor": (c_void_p, c_int, POINTER(c_int64), c_int, c_size_t),
    "TF_DeleteTensor": (None, c_void_p),
    "TF_TensorType": (c_int, c_void_p),
    "TF_NumDims": (c_int, c_void_p),
    "TF_Dim": (c_int64, c_void_p, c_int),
    "TF_TensorData": (c_void_p, c_void_p),
    "TF_TensorByteSize": (c_size_t, c_void_p),
    "TF_StringInit": (None, c_void_p),
    "TF_StringCopy": (None, c_void_p, c_char_p, c_size_t),
    "TF_StringGetDataPointer": (c_void_p, c_void_p),
    "TF_StringGetSize": (c_size_t, c_void_p),
}


def folder_of(package: str) -> Path:
    """Finds a package without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    assert spec.origin is not None, package
    return Path(spec.origin).parent


def load_api() -> Any:
    """The C library, with tensorflow-text's operations."""
    (path,) = folder_of("tensorflow").glob("libtensorflow_cc.*")
    api = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(api, name)
        function.restype, function.argtypes = result, arguments
    for name in OPERATIONS:
        library = folder_of("tensorflow_text") / "python" / "ops" / f"_{name}.so"
        with checked(api) as status:
            api.TF_LoadLibrary(str(library).encode(), status)
    return api


@contextmanager
def checked(api: Any) -> Iterator[int]:
    """Yields a TF_Status, and raises what it says afterwards."""
    status = api.TF_NewStatus()
    try:
        yield status
        if api.TF_GetCode(status):
            raise RuntimeError(api.TF_Message(status).decode())
    finally:
        api.TF_DeleteStatus(status)


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protocol buffer's fields: integers, or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        number = shift = 0
        while True:
            byte = message[place]
            place += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while place < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        place += size
        yield number, message[place - size : place]


def entries(message: bytes, field: int) -> dict[str, bytes]:
    """A map from strings to messages."""
    pairs = (dict(fields(value)) for number, value in fields(message) if number == field)
    return {pair[KEY].decode(): pair[VALUE] for pair in pairs}


class Session:
    """A SavedModel that is loaded.

    Args:
        api: Of `load_api`.
        folder: The SavedModel's folder.

    Raises:
        RuntimeError: TensorFlow cannot load it.
    """

    def __init__(self, api: Any, folder: str) -> None:
        self.api = api
        self.graph = api.TF_NewGraph()
        options, meta_graph = api.TF_NewSessionOptions(), api.TF_NewBuffer()
        tags = (c_char_p * 1)(b"serve")
        try:
            with checked(api) as status:
                self.session = api.TF_LoadSessionFromSavedModel(
                    options, None, folder.encode(), tags, 1, self.graph, meta_graph, status
                )
            buffer = meta_graph.contents
            self.signatures = entries(ctypes.string_at(buffer.data, buffer.length), SIGNATURES)
        finally:
            api.TF_DeleteBuffer(meta_graph)
            api.TF_DeleteSessionOptions(options)

    def close(self) -> None:
        with checked(self.api) as status:
            self.api.TF_DeleteSession(self.session, status)
        self.api.TF_DeleteGraph(self.graph)

    def run(self, signature: str, inputs: dict[str, list[str]]) -> dict[str, Any]:
        """Outputs of a signature by name, as JSON has them."""
        wanted = self._tensors(signature, INPUTS)
        if wanted.keys() != inputs.keys():
            raise ValueError(f"{signature} takes {sorted(wanted)}; there are {sorted(inputs)}")
        given = self._tensors(signature, OUTPUTS)
        values = (c_void_p * len(inputs))(*(self._strings(inputs[name]) for name in wanted))
        found = (c_void_p * len(given))()
        try:
            with checked(self.api) as status:
                self.api.TF_SessionRun(
                    *(self.session, None),
                    *((Output * len(values))(*wanted.values()), values, len(values)),
                    *((Output * len(found))(*given.values()), found, len(found)),
                    *(None, 0, None, status),
                )
            return {name: self._value(of) for name, of in zip(given, found, strict=True)}
        finally:
            for tensor in filter(None, (*values, *found)):
                self.api.TF_DeleteTensor(tensor)

    def _tensors(self, signature: str, side: int) -> dict[str, Output]:
        """The tensors of a signature's inputs or outputs; they are known as `operation:index`."""
        tensors = {}
        for name, info in entries(self.signatures[signature], side).items():
            operation, _, index = dict(fields(info))[NAME].decode().partition(":")
            pointer = self.api.TF_GraphOperationByName(self.graph, operation.encode())
            assert pointer, operation
            tensors[name] = Output(pointer, int(index))
        return tensors

    def _strings(self, texts: list[str]) -> int:
        """A tensor of strings `[b]`."""
        size = STRING_SIZE * len(texts)
        tensor = self.api.TF_AllocateTensor(STRING, (c_int64 * 1)(len(texts)), 1, size)
        data = self.api.TF_TensorData(tensor)
        for number, text in enumerate(map(str.encode, texts)):
            self.api.TF_StringInit(data + STRING_SIZE * number)
            self.api.TF_StringCopy(data + STRING_SIZE * number, text, len(text))
        return tensor

    def _value(self, tensor: int) -> dict[str, Any]:
        api = self.api
        shape = [api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor))]
        dtype, data = api.TF_TensorType(tensor), api.TF_TensorData(tensor)
        if dtype == STRING:
            places = (data + STRING_SIZE * number for number in range(math.prod(shape)))
            values = [
                ctypes.string_at(
                    api.TF_StringGetDataPointer(place), api.TF_StringGetSize(place)
                ).decode("utf-8", "surrogateescape")
                for place in places
            ]
            return {"dtype": "object", "shape": shape, "values": values}
        size = api.TF_TensorByteSize(tensor)
        array = np.frombuffer(ctypes.string_at(data, size) if size else b"", DTYPES[dtype])
        return {"dtype": DTYPES[dtype], "shape": shape, "values": array.tolist()}


def answer(api: Any, folder: str, signature: str, inputs: dict[str, list[str]]) -> dict[str, Any]:
    try:
        session = Session(api, folder)
        try:
            return {"outputs": session.run(signature, inputs)}
        finally:
            session.close()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    api = load_api()
    for line in sys.stdin:
        reply = answer(api, **json.loads(line))
        packages = sorted({name.partition(".")[0] for name in sys.modules})
        sys.stdout.write(json.dumps({**reply, "packages": packages}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
