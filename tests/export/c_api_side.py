"""Runs SavedModels as TensorFlow Serving does: by TensorFlow's C library, without its Python.

    python c_api_side.py

reads requests and writes answers, a line of JSON each.  A request has the `folder` of a SavedModel,
`feeds`, lists of strings by the names of tensors (`operation:index`), and `fetches`, names of
tensors.  An answer has `outputs`, by name a `dtype`, a `shape` and `values` each, or else an
`error`; and the `modules` that this process has imported.

The library is that of the installed wheel, and is described in `include/tensorflow/c` there.
"""

import ctypes
import importlib.util
import json
import math
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

# Those of tensorflow-text's libraries that have `SERVABLE_CUSTOM_OPS`.
LIBRARIES = (
    "fast_bert_normalizer",
    "fast_wordpiece_tokenizer",
    "normalize_ops",
    "regex_split_ops",
    "wordpiece_tokenizer",
)
STRING = 7  # TF_STRING of TF_DataType
DTYPES = {1: "float32", 3: "int32", 9: "int64", 10: "bool"}
STRING_SIZE = 24  # of a TF_TString, in bytes


class Output(ctypes.Structure):
    """TF_Output: one of the tensors that an operation gives."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


# What each function gives, and what it takes.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "TF_LoadLibrary": (c_void_p, c_char_p, c_void_p),
    "TF_NewStatus": (c_void_p,),
    "TF_GetCode": (c_int, c_void_p),
    "TF_Message": (c_char_p, c_void_p),
    "TF_DeleteStatus": (None, c_void_p),
    "TF_NewGraph": (c_void_p,),
    "TF_GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "TF_DeleteGraph": (None, c_void_p),
    "TF_NewSessionOptions": (c_void_p,),
    "TF_DeleteSessionOptions": (None, c_void_p),
    "TF_LoadSessionFromSavedModel": (
        *(c_void_p, c_void_p, c_void_p, c_char_p),  # options, run options and folder
        *(c_void_p, c_int, c_void_p, c_void_p, c_void_p),  # tags, graph, meta graph and status
    ),
    "TF_SessionRun": (
        *(None, c_void_p, c_void_p),  # session and run options
        *(c_void_p, c_void_p, c_int) * 2,  # places, tensors and how many: of inputs, of outputs
        *(c_void_p, c_int, c_void_p, c_void_p),  # targets, metadata and status
    ),
    "TF_DeleteSession": (None, c_void_p, c_void_p),
    "TF_AllocateTensor": (c_void_p, c_int, c_void_p, c_int, c_size_t),
    "TF_TensorType": (c_int, c_void_p),
    "TF_NumDims": (c_int, c_void_p),
    "TF_Dim": (c_int64, c_void_p, c_int),
    "TF_TensorData": (c_void_p, c_void_p),
    "TF_TensorByteSize": (c_size_t, c_void_p),
    "TF_DeleteTensor": (None, c_void_p),
    "TF_StringInit": (None, c_void_p),
    "TF_StringCopy": (None, c_void_p, c_char_p, c_size_t),
    "TF_StringGetDataPointer": (c_void_p, c_void_p),
    "TF_StringGetSize": (c_size_t, c_void_p),
}


def folder_of(package: str) -> Path:
    """Finds a package without importing it."""
    return Path(importlib.util.find_spec(package).origin).parent


def load_api() -> Any:
    """The C library, with tensorflow-text's operations.

    Its names are made global, as TensorFlow's Python does too.  Each library of tensorflow-text has
    a copy of protobuf's maps, whose hash depends on where the copy lies in memory: it finds an
    attribute that TensorFlow has stored only by chance ("key not found: get_offsets").  Under
    global names, the linker gives it TensorFlow's functions instead of the copies.
    """
    (path,) = folder_of("tensorflow").glob("libtensorflow_cc.*")
    api = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(api, name)
        function.restype, function.argtypes = result, arguments
    status = api.TF_NewStatus()
    for name in LIBRARIES:
        library = folder_of("tensorflow_text") / "python" / "ops" / f"_{name}.so"
        api.TF_LoadLibrary(str(library).encode(), status)
        check(api, status)
    api.TF_DeleteStatus(status)
    return api


def check(api: Any, status: int) -> None:
    if api.TF_GetCode(status):
        raise RuntimeError(api.TF_Message(status).decode())


def run(
    api: Any, folder: str, feeds: dict[str, list[str]], fetches: list[str]
) -> dict[str, dict[str, Any]]:
    """Loads a SavedModel and runs it once.

    Raises:
        RuntimeError: TensorFlow cannot load or run it.
    """
    with ExitStack() as stack:

        def owned(delete: Any, pointer: int, *arguments: int) -> int:
            stack.callback(delete, pointer, *arguments)
            return pointer

        status = owned(api.TF_DeleteStatus, api.TF_NewStatus())
        graph = owned(api.TF_DeleteGraph, api.TF_NewGraph())
        options = owned(api.TF_DeleteSessionOptions, api.TF_NewSessionOptions())
        tags = (c_char_p * 1)(b"serve")
        session = api.TF_LoadSessionFromSavedModel(
            options, None, folder.encode(), tags, len(tags), graph, None, status
        )
        check(api, status)
        owned(api.TF_DeleteSession, session, status)
        inputs = [owned(api.TF_DeleteTensor, strings(api, texts)) for texts in feeds.values()]
        outputs = (c_void_p * len(fetches))()
        api.TF_SessionRun(
            *(session, None),
            *(places(api, graph, feeds), (c_void_p * len(inputs))(*inputs), len(inputs)),
            *(places(api, graph, fetches), outputs, len(outputs)),
            *(None, 0, None, status),
        )
        check(api, status)
        for tensor in outputs:
            owned(api.TF_DeleteTensor, tensor)
        return {name: value(api, of) for name, of in zip(fetches, outputs, strict=True)}


def places(api: Any, graph: int, names: Iterable[str]) -> Any:
    """An array of what the names of tensors mean."""
    found = []
    for name in names:
        operation, _, index = name.partition(":")
        pointer = api.TF_GraphOperationByName(graph, operation.encode())
        assert pointer, f"no operation {operation!r}"
        found.append(Output(pointer, int(index)))
    return (Output * len(found))(*found)


def strings(api: Any, texts: list[str]) -> int:
    """A tensor of strings `[b]`."""
    size = STRING_SIZE * len(texts)
    tensor = api.TF_AllocateTensor(STRING, (c_int64 * 1)(len(texts)), 1, size)
    data = api.TF_TensorData(tensor)
    for number, text in enumerate(map(str.encode, texts)):
        api.TF_StringInit(data + STRING_SIZE * number)
        api.TF_StringCopy(data + STRING_SIZE * number, text, len(text))
    return tensor


def value(api: Any, tensor: int) -> dict[str, Any]:
    """A tensor as JSON has it; bytes that are no UTF-8 become surrogates."""
    shape = [api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor))]
    dtype, data = api.TF_TensorType(tensor), api.TF_TensorData(tensor)
    if dtype == STRING:
        values = [
            ctypes.string_at(api.TF_StringGetDataPointer(at), api.TF_StringGetSize(at)).decode(
                "utf-8", "surrogateescape"
            )
            for at in (data + STRING_SIZE * number for number in range(math.prod(shape)))
        ]
        return {"dtype": "object", "shape": shape, "values": values}
    size = api.TF_TensorByteSize(tensor)
    array = np.frombuffer(ctypes.string_at(data, size) if size else b"", DTYPES[dtype])
    return {"dtype": DTYPES[dtype], "shape": shape, "values": array.tolist()}


def main() -> None:
    api = load_api()
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"outputs": run(api, **json.loads(line))}
        except RuntimeError as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps({**answer, "modules": list(sys.modules)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
