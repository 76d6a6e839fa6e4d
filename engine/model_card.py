"""Model card of a trained model: data, accuracy, licence, and what its maps may be used for."""

import json
from collections.abc import Mapping
from typing import Any

from tools.text import counted, visible

LISTED_CLASSES = 20

TWO_SIDED = """\
- A map shows what few other classes see at a place: read it as "this is why the model prefers this class to most
  others", and `contrast` as "why this class and not that one".
"""
ONE_SIDED = """\
- Evidence includes what all classes share: compare the maps of several classes before concluding anything from one.
"""
TRUST = """\
- The evidence for a class, minus that against it, plus what the classes share, is its logit, exactly.
{sided}- A map has the resolution of the model's grid, and the evidence at a place may come from beside it.
- A map says what the model uses, not what is right, and not what a person would call the object.
- Not measured for this model: whether its maps agree with those of another training run.
"""
USE = """\
```python
import torch

model = torch.hub.load("path/to/scouter", "from_pretrained", "path/to/this/folder", source="local")
result = model.explain("picture.png")
result.figure().savefig("why.png")
```
"""


def model_card(config: Mapping[str, Any], *, results: Mapping[str, Any], licence: str, about: str) -> str:
    """Model card in Markdown, with the header that the Hugging Face hub reads.

    Args:
        config: ``model_config``, ``data_config`` and ``epoch`` of the model.
        results: content of results.json; empty if unknown.
        licence: identifier of the licence on the hub, such as ``apache-2.0``.
        about: paragraph below the title, such as the command that trained the model; may be empty.
    """
    model, data = config["model_config"], config["data_config"]
    title = f"{model['backbone']} with {'SCOUTER' if model['use_slot'] else 'a plain classifier'} on {data['dataset']}"
    header = f"---\nlicense: {json.dumps(licence)}\npipeline_tag: image-classification\ntags:\n- scouter\n---\n"
    sections = [f"# {title}", about, "## Use", USE, "## Data and accuracy", _data(config, results)]
    if model["use_slot"]:
        sided = ONE_SIDED if model.get("reference", "none") == "none" else TWO_SIDED
        sections += ["## What the maps may be used for", TRUST.format(sided=sided)]
    sections += ["## Licence", f"{licence}"]
    return header + "\n" + "\n\n".join(text.strip() for text in sections if text) + "\n"


def _data(config: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """List of the data, the classes, the pictures and the accuracy."""
    model, data = config["model_config"], config["data_config"]
    names = [visible(name) for name in data.get("class_names") or []]
    more = f", and {len(names) - LISTED_CLASSES} more" if len(names) > LISTED_CLASSES else ""
    size = " x ".join(str(side) for side in model["img_size"])
    epochs = config["epoch"] + 1
    colour = {1: "grey", 3: "RGB"}.get(model["in_chans"], f"{model['in_chans']} channels")
    lines = [
        f"trained on: {data['dataset']}, {counted(epochs, 'epoch')}",
        f"classes: {model['num_classes']}{': ' if names else ''}{', '.join(names[:LISTED_CLASSES])}{more}",
        f"pictures: {colour}, resized to {size} pixels (height x width), mean {list(data['mean'])}, "
        f"standard deviation {list(data['std'])} for values in 0..1",
        _accuracy(results),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _accuracy(results: Mapping[str, Any]) -> str:
    """Top-1 with its interval, if there is one, and the pictures that it is of."""
    top1, interval = results.get("top1"), dict(results.get("intervals") or {}).get("top1")
    if not isinstance(top1, float):
        return "accuracy: not known; test.py measures it"
    pair = isinstance(interval, list) and len(interval) == 2 and all(isinstance(end, float) for end in interval)
    between = f" (95 % interval {interval[0]:.2%} to {interval[1]:.2%})" if pair and interval else ""
    return (f"top-1: {top1:.2%}{between} on {results.get('pictures', results.get('images'))} pictures of "
            f"{results.get('dataset')}, split {results.get('split')}")  # fmt: skip
