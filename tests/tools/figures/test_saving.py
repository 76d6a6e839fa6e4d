import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tools import VERSION
from tools.figures.saving import is_own_picture, save_figure, save_picture

SOFTWARE, DESCRIPTION = 0x0131, 0x010E  # EXIF tags


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_foreign_picture_is_kept_and_an_own_one_is_replaced(tmp_path, caplog, ending):
    path, foreign = tmp_path / f"overview.{ending}", Image.new("L", (3, 3))
    for kept in ([f"overview.kept.{ending}"], [f"overview.kept.{ending}", f"overview.kept2.{ending}"]):
        foreign.save(path)
        before = path.read_bytes()
        save_picture(path, Image.new("L", (5, 5)))
        save_figure(path, Figure(figsize=(1, 1)), note="x" * 5000)
        save_figure(path, Figure(figsize=(1, 1)))
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, f"overview.{ending}"])
        assert (tmp_path / kept[-1]).read_bytes() == before and is_own_picture(path)
    assert f"they are renamed to *.kept.{ending}" in caplog.text


def test_a_jpeg_shows_the_figure_of_the_png_and_says_what_it_is(tmp_path):
    for ending in ("png", "jpg"):
        figure = Figure(figsize=(3, 2))
        figure.text(0.5, 0.5, "logit 3.7", color="red", ha="center", fontsize=20)
        save_figure(tmp_path / f"why.{ending}", figure, note="the digits")
    png, jpeg = (Image.open(tmp_path / f"why.{ending}") for ending in ("png", "jpg"))
    assert (png.format, jpeg.format) == ("PNG", "JPEG") and png.size == jpeg.size == (360, 264)
    assert np.asarray(jpeg.info["dpi"]) == pytest.approx(np.asarray(png.info["dpi"]), abs=0.1)
    exif = jpeg.getexif()
    assert (exif[SOFTWARE], exif[DESCRIPTION]) == (f"SCOUTER {VERSION}", "the digits")
    expected, found = (np.asarray(picture.convert("RGB"), dtype=float) for picture in (png, jpeg))
    # With coarse colours, the default of JPEG, letters are smeared: their difference is then several times as large.
    letters = expected[..., 1] < 128
    assert np.abs(found - expected).mean() < 1 and np.abs(found - expected)[letters].mean() < 6
