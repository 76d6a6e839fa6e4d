"""Cards of the report."""

import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset.sources import Source
from engine.report import report_card
from engine.trained_model import TrainedModel

DIGITS = Path(__file__).parents[2] / "pretrained" / "digits"


def test_a_card_keeps_neither_the_picture_nor_the_maps_of_all_classes():
    model = TrainedModel.from_pretrained(DIGITS, device=torch.device("cpu"))
    picture = Image.fromarray(np.full((1500, 2000), 90, np.uint8))  # 3 MB
    card = report_card([model], Source("large", picture, 3))
    assert card.picture[1:] == (288, 216) and card.label == "3" and len(card.maps) >= 4
    assert len(pickle.dumps(card)) < 10_000
    assert all(one.values.base is None for one in card.maps if one.kind != "contrast")
