"""Damage to the checkpoint that is tested, explained or continued."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from studies.chaos.scene import DONE, PLAIN, REFUSED, SLOTS, Scene, Start

ABSURD: tuple[Any, ...] = (
    None,
    -1,
    0,
    10**12,
    1e300,
    float("nan"),
    "x",
    "",
    [],
    {},
    [1, 2, 3],
    True,
    b"\0",
    (9, 9),
    {"a": {}},
    -0.5,
)


def chosen(scene: Scene) -> tuple[Path, Callable[..., Start]]:
    """A checkpoint, and the start that reads it."""
    resumed = scene.out / SLOTS
    starts: tuple[tuple[Path, Callable[..., Start]], ...] = (
        (scene.out / SLOTS, scene.test),
        (scene.out / PLAIN, scene.methods),
        (resumed, lambda **right: scene.train("--resume", resumed, "--epochs", 2, **right)),
    )
    return scene.random.choice(starts)


def changed_bytes(change: Callable[[Scene, bytes], bytes], *, codes: tuple[int, ...] = (REFUSED,)) -> Callable:
    """A change of the file, which is then refused by its name."""

    def damage(scene: Scene) -> Start:
        path, start = chosen(scene)
        path.write_bytes(change(scene, path.read_bytes()))
        return start(codes=codes, says=path.name)

    return damage


def flipped(scene: Scene, content: bytes) -> bytes:
    """The content with one other bit."""
    data = bytearray(content)
    data[scene.random.randrange(len(data))] ^= 1 << scene.random.randrange(8)
    return bytes(data)


def changed_content(change: Callable[[Scene, dict[str, Any]], None], *, codes: tuple[int, ...]) -> Callable:
    """A change of what the file holds."""

    def damage(scene: Scene) -> Start:
        path, start = chosen(scene)
        state = torch.load(path, weights_only=True)
        change(scene, state)
        torch.save(state, path)
        return start(codes=codes)

    return damage


def absurd_entry(scene: Scene, state: dict[str, Any]) -> None:
    """Another value for one entry, of the configuration or at the top."""
    part = scene.random.choice([state, *(state[name] for name in ("model_config", "data_config", "train_config"))])
    name = scene.random.choice(sorted(part))
    part[name] = scene.random.choice(ABSURD)


def missing_entry(scene: Scene, state: dict[str, Any]) -> None:
    """One entry less."""
    part = scene.random.choice([state, state["model_config"], state["data_config"], state["train_config"]])
    part.pop(scene.random.choice(sorted(part)))


def absurd_optimizer(scene: Scene, state: dict[str, Any]) -> None:
    """Another value in the state of the optimizer."""
    part = scene.random.choice([state["optimizer"], *state["optimizer"]["param_groups"]])
    part[scene.random.choice(sorted(part))] = scene.random.choice(ABSURD)


def not_finite(scene: Scene, state: dict[str, Any]) -> None:
    """A weight that is NaN or infinite."""
    names = [name for name, value in state["model"].items() if value.is_floating_point()]
    state["model"][scene.random.choice(names)].view(-1)[0] = scene.random.choice([float("nan"), float("inf")])


def other_shape(scene: Scene, state: dict[str, Any]) -> None:
    """A weight of another shape or type."""
    name = scene.random.choice(sorted(state["model"]))
    state["model"][name] = scene.random.choice([torch.zeros(7, 3), torch.zeros(0), None, "x", [1.0]])


class Code:
    """Object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """The call that unpickling would make."""
        return os.mkdir, (str(self.path),)


def with_code(scene: Scene) -> Start:
    """A pickle that would execute code."""
    path, start = chosen(scene)
    state, made = torch.load(path, weights_only=True), scene.folder / "executed"
    torch.save({**state, "metrics": Code(made)}, path)
    return start(codes=(REFUSED,), says=path.name, unwanted=made)


def folder_instead(scene: Scene) -> Start:
    """A folder of the checkpoint's name."""
    path, start = chosen(scene)
    path.unlink()
    path.mkdir()
    return start(codes=(REFUSED,), says=path.name)


EITHER = (DONE, REFUSED)
CHECKPOINTS: dict[str, Callable[[Scene], Start]] = {
    "one bit": changed_bytes(flipped, codes=EITHER),  # some bits of a zip archive mean nothing
    "cut short": changed_bytes(lambda scene, content: content[: scene.random.randrange(1, len(content) - 1)]),
    "empty": changed_bytes(lambda scene, content: b""),
    "text": changed_bytes(lambda scene, content: b"no checkpoint\n" * 99),
    "code": with_code,
    "folder": folder_instead,
    "absurd entry": changed_content(absurd_entry, codes=EITHER),
    "another absurd entry": changed_content(absurd_entry, codes=EITHER),
    "missing entry": changed_content(missing_entry, codes=EITHER),
    "absurd state of the optimizer": changed_content(absurd_optimizer, codes=EITHER),
    "weight that is not finite": changed_content(not_finite, codes=(REFUSED,)),
    "weight of another shape": changed_content(other_shape, codes=(REFUSED,)),
}
