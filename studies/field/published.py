"""Numbers that other papers publish, with their sources: of other data and backbones than the measured rows."""

from typing import Any

SCOUTER = "Li et al., ICCV 2021"
BCOS = "Böhle et al., TPAMI 2024, Model Zoo of their code"
PROTOVIT = "Ma et al., NeurIPS 2024, Table 2"


def _scouter(data: str, model: str, **metrics: float) -> dict[str, Any]:
    return {"data": data, "model": model, "source": SCOUTER, **metrics}


IMAGENET_100, CUB, CROPPED = "ImageNet, first 100", "CUB-200-2011", "CUB-200-2011, 200, cropped"

PUBLISHED: list[dict[str, Any]] = [
    _scouter(IMAGENET_100, "FC, ResNeSt-26d", top1=0.8080),
    _scouter(IMAGENET_100, "SCOUTER+, ResNeSt-26d", top1=0.7991),
    _scouter(IMAGENET_100, "SCOUTER-, ResNeSt-26d", top1=0.7946),
    *(
        _scouter(IMAGENET_100, f"SCOUTER{sign}, lambda {weight}, ResNeSt-26d", area=area, precision=precision,
                 iauc=iauc, dauc=dauc, infidelity=infidelity, sensitivity=sensitivity)
        for sign, weight, area, precision, iauc, dauc, infidelity, sensitivity in (
            ("+", 1, 0.1561, 0.8493, 0.7512, 0.1753, 0.0799, 0.0796),
            ("+", 3, 0.0723, 0.8488, 0.7650, 0.1423, 0.0949, 0.0608),
            ("+", 10, 0.0476, 0.9257, 0.7647, 0.2713, 0.0840, 0.1150),
            ("-", 1, 0.0643, 0.8238, 0.7343, 0.1969, 0.0046, 0.0567),
            ("-", 3, 0.0545, 0.8937, 0.6958, 0.4286, 0.0196, 0.1497),
            ("-", 10, 0.0217, 0.8101, 0.6730, 0.7333, 0.0014, 0.1895),
        )
    ),
    _scouter(CUB, "FC, ResNeSt", top1=0.7538),
    _scouter(CUB, "SCOUTER+, ResNeSt", top1=0.7362),
    _scouter(CUB, "SCOUTER-, ResNeSt", top1=0.7490),
    {"data": "ImageNet, 1000", "model": "B-cos DenseNet-121", "source": BCOS, "top1": 0.73612},
    {"data": "ImageNet, 1000", "model": "B-cos ResNet-50", "source": BCOS, "top1": 0.75882},
    {"data": "ImageNet, 1000", "model": "B-cos ResNet-50, long training", "source": BCOS, "top1": 0.79468},
    {"data": CROPPED, "model": "ProtoPNet, DenseNet-161", "source": PROTOVIT, "top1": 0.801},
    {"data": CROPPED, "model": "ProtoViT, DeiT-Tiny", "source": PROTOVIT, "top1": 0.8292},
    {"data": CROPPED, "model": "ProtoViT, DeiT-Small", "source": PROTOVIT, "top1": 0.8537},
    {"data": CROPPED, "model": "ProtoViT, CaiT-XXS-24", "source": PROTOVIT, "top1": 0.8582},
]  # fmt: skip
