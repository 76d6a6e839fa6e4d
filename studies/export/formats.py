"""Formats of an exported file: how each is written and, for the check, run."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from studies.export.metadata import FILE
from studies.export.module import ExportedModel
from studies.export.onnx_file import onnx_bytes, open_onnx
from tools import ToolError
from tools.startup import limit_message

Run = Callable[[Tensor], dict[str, Tensor]]


class Format(NamedTuple):
    """A format.

    Attributes:
        write: makes the content of the file, from the module, an example of its input (b, ...) with b above 1, of
            which only b may change, and the metadata.
        open: makes the content of a file a function from an input (b, ...) to the outputs.
        runner: name of what runs the file, in messages.
    """

    write: Callable[[ExportedModel, Tensor, Mapping[str, Any]], bytes]
    open: Callable[[bytes], Run]
    runner: str


def exported_program(module: ExportedModel, example: Tensor) -> torch.export.ExportedProgram:
    """Graph of the module for any number of pictures of one size."""
    dynamic = {"images": {0: torch.export.Dim("batch")}}
    return torch.export.export(module, (example,), dynamic_shapes=dynamic)


def _torch_export_bytes(module: ExportedModel, example: Tensor, entries: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.export.save(exported_program(module, example), file, extra_files={FILE: json.dumps(entries)})
    return file.getvalue()


def _open_torch_export(content: bytes) -> Run:
    return torch.export.load(io.BytesIO(content)).module()


def _torchscript_bytes(module: ExportedModel, example: Tensor, entries: Mapping[str, Any]) -> bytes:
    # Traced: scripting does not know timm's code. What depends on the size of the picture alone becomes a constant.
    traced = torch.jit.trace(module, (example,), check_trace=False, strict=False)  # not strict: the output is a dict
    file = io.BytesIO()
    torch.jit.save(traced, file, _extra_files={FILE: json.dumps(entries)})
    return file.getvalue()


def _open_torchscript(content: bytes) -> Run:
    return torch.jit.load(io.BytesIO(content))


def _onnx_bytes(module: ExportedModel, example: Tensor, entries: Mapping[str, Any]) -> bytes:
    return onnx_bytes(exported_program(module, example), entries)


FORMATS = {
    "onnx": Format(_onnx_bytes, open_onnx, "onnxruntime"),
    "torch_export": Format(_torch_export_bytes, _open_torch_export, "torch.export.load"),
    "torchscript": Format(_torchscript_bytes, _open_torchscript, "torch.jit.load"),
}


@contextlib.contextmanager
def exporting(name: str) -> Iterator[None]:
    """Run an exporter without its own warnings and messages, and turn its errors into one line.

    Args:
        name: key of :data:`FORMATS`.

    Raises:
        ToolError: the model cannot be exported to this format.
    """
    before = logging.root.manager.disable
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            logging.disable(logging.ERROR)
            yield
    except Exception as error:  # the exporters raise errors of many types
        if isinstance(error, ToolError) or limit_message(error):
            raise
        others = " or ".join(other for other in FORMATS if other != name)
        fault = f"this model cannot be exported as {name} ({_reason(error)})"
        raise ToolError(f"{fault}: give --format {others}") from error
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """First line of the error that caused an error, or its type."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:160]}" if text else type(error).__name__
