"""Windows and tables, held against pydicom's own and against the standard's formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pumice.errors import ImageError, UsageError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from pumice.image.dicom import Window, choose_window, listed_windows, parse_window  # noqa: E402
from pumice.image.dicom.voi import greys_of, modality_values  # noqa: E402

from .made import dataset, item, ramp  # noqa: E402


def everywhere(values: Any) -> Any:
    return np.ones(values.shape, bool)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(20, 100), (-40.5, 33.3), (0, 2), (50, 1)])
def test_windows_are_those_of_pydicom(function: str, center: float, width: float) -> None:
    pixels = ramp()
    made = dataset(pixels, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    if function == "LINEAR" and width == 1:  # where pydicom divides by 0
        expected = (pixels > center - 0.5) * 255.0
    else:
        low, high = -(2**15), 2**15 - 1
        expected = (pydicom.pixels.apply_windowing(pixels.copy(), made) - low) / (high - low) * 255
    ours = listed_windows(made)[0][1].greys(pixels)
    assert np.abs(ours - expected).max() <= 0.51
    assert ours.dtype == np.uint8


def test_slope_and_table_of_modality_are_those_of_pydicom() -> None:
    pixels = ramp("<u2", 0, 255)
    made = dataset(pixels, RescaleSlope="2.5", RescaleIntercept="-1024")
    assert np.array_equal(modality_values(pixels, made), pydicom.pixels.apply_modality_lut(pixels, made))
    table = item(
        LUTDescriptor=[256, 0, 16], LUTData=[(255 - n) * 3 for n in range(256)], ModalityLUTType="US"
    )
    made.ModalityLUTSequence = [table]
    assert modality_values(pixels, made)[0, 0] == 255 * 3


@pytest.mark.parametrize(("bits", "first"), [(8, 10), (12, 0), (16, -20)])
def test_a_voi_table_is_used_before_windows(bits: int, first: int) -> None:
    pixels = ramp("<i2", -40, 215)
    data = [round(n / 199 * (2**bits - 1)) for n in range(200)]
    made = dataset(pixels, WindowCenter=0, WindowWidth=10)
    made.VOILUTSequence = [
        item(LUTDescriptor=[200, first % 2**16, bits], LUTData=data, LUTExplanation="BRIGHT")
    ]
    window = choose_window("auto", made, pixels, everywhere(pixels))
    assert window.table == 0
    assert choose_window("file:bright", made, pixels, everywhere(pixels)).table == 0
    assert choose_window("file:2", made, pixels, everywhere(pixels)).center == 0
    expected = np.array(data)[np.clip(pixels.astype(int) - first, 0, 199)] / (2**bits - 1) * 255
    assert np.abs(greys_of(pixels, made, window) - expected).max() <= 0.51


def test_a_voi_table_of_signed_values_in_a_frame_that_has_none() -> None:
    """Its first entry is for -1024; no value of this frame is below 0, and others of the series are."""
    pixels = ramp("<u2", 1024, 1279)
    made = dataset(pixels, RescaleSlope="1", RescaleIntercept="-1024")
    table = np.arange(4096, dtype="<u2").tobytes()
    made.VOILUTSequence = [item(LUTDescriptor=[4096, 2**16 - 1024, 12], LUTData=table)]
    values = modality_values(pixels, made)
    assert values.min() == 0
    window = choose_window("auto", made, values, everywhere(values))
    assert np.abs(greys_of(values, made, window) - pixels / 4095 * 255).max() <= 0.51


def test_a_voi_table_that_is_too_short_is_told() -> None:
    made = dataset(ramp(), VOILUTSequence=[item(LUTDescriptor=[200, 0, 16], LUTData=[1, 2, 3])])
    window = choose_window("file", made, ramp(), everywhere(ramp()))
    with pytest.raises(ImageError, match="3 entries of 200"):
        greys_of(ramp(), made, window)


def test_which_window_is_chosen() -> None:
    pixels = ramp()
    real = everywhere(pixels)
    named = dataset(pixels, WindowCenter=[40, 300], WindowWidth=[400, 1500],
                    WindowCenterWidthExplanation=["SOFT", "BONE"])  # fmt: skip
    assert choose_window("auto", named, pixels, real).width == 400
    assert choose_window("file:bone", named, pixels, real) == Window("file:2", 300, 1500)
    assert choose_window((7, 8), named, pixels, real) == Window("7,8", 7, 8)
    with pytest.raises(ImageError, match="no window '3': its windows are numbered 1 to 2"):
        choose_window("file:3", named, pixels, real)
    with pytest.raises(ImageError, match="this is no CT"):
        choose_window("lung", named, pixels, real)
    plain = dataset(pixels)
    with pytest.raises(ImageError, match="no window"):
        choose_window("file", plain, pixels, real)
    assert choose_window("full", plain, pixels, real).width == 255
    for part, center in (("CHEST", 50), ("HEAD", 40), ("FOOT", 400), ("", 40)):
        scan = dataset(pixels, Modality="CT", BodyPartExamined=part)
        assert choose_window("auto", scan, pixels, real).center == center
    assert choose_window("lung", scan, pixels, real).center == -600


def test_padding_is_not_counted() -> None:
    pixels = ramp()
    pixels[:8] = -2000
    real = pixels != -2000
    window = choose_window("auto", dataset(pixels), pixels, real)
    assert window.name == "percentiles"
    assert window.center - window.width / 2 > 0


def test_values_that_are_no_numbers_are_black_and_move_no_window() -> None:
    values = ramp().astype(np.float64)
    values[0, :3] = np.nan, np.inf, -np.inf
    for wanted in ("full", "auto"):
        window = choose_window(wanted, dataset(ramp()), values, everywhere(values))
        assert abs(window.center - 27.5) < 5
        assert window.greys(values)[0, :3].tolist() == [0, 255, 0]
    nothing = choose_window("full", dataset(ramp()), values * np.nan, everywhere(values))
    assert np.isfinite([nothing.center, nothing.width]).all()


def test_words_of_the_option() -> None:
    assert parse_window("40,400") == (40, 400)
    assert parse_window("-600,1500") == (-600, 1500)
    assert parse_window("lung") == "lung"
    for wrong in ("40,0", "40,-3", "1,2,3", "e,e", "nan,4", "lungs"):
        with pytest.raises(UsageError) as caught:
            parse_window(wrong)
    assert "did you mean 'lung'" in str(caught.value)
