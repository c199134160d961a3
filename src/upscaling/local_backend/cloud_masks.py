"""Cloud masks from Sentinel-2's scene classification, widened so that haze and shadows at the edges go too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.cube_processes import require, rewrap
from upscaling.local_backend.errors import ProcessError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = ["PROCESSES"]

CLEAR, CLOUDY = (2, 4, 5, 6, 7), (3, 8, 9, 10, 11)
# A pixel is masked where the smoothed mask is above these, as on the VITO platforms.
ABOVE_1, ABOVE_2 = 0.057, 0.025


def to_scl_dilation_mask(
    data: xr.DataArray,
    *,
    erosion_kernel_size: int = 0,
    mask1_values: Sequence[int] | None = None,
    mask2_values: Sequence[int] | None = None,
    kernel1_size: int = 17,
    kernel2_size: int = 77,
) -> xr.DataArray:
    """Return a mask, 1 where a pixel is to be left out: classes that are not clear, and clouds widened further.

    Parameters
    ----------
    data
        The scene classification, with one band or none.
    mask1_values, mask2_values
        Classes that the first mask keeps, and that the second masks.
    kernel1_size, kernel2_size
        Width in pixels of the Gaussian by which each mask is widened.
    """
    import numpy as np
    from scipy import ndimage

    for dimension in ("y", "x"):
        require(data, dimension)
    if data.sizes.get("bands", 1) != 1:
        raise ProcessError("ProcessParameterInvalid", "to_scl_dilation_mask needs a cube with the one band SCL")
    leading = data.transpose(..., "y", "x")
    classes = leading.values
    known = np.isfinite(classes)
    first = known & ~np.isin(classes, mask1_values or CLEAR)
    second = known & np.isin(classes, mask2_values or CLOUDY)
    if erosion_kernel_size > 0:
        window = np.ones((1,) * (classes.ndim - 2) + (erosion_kernel_size,) * 2)
        second = ndimage.binary_erosion(second, window, border_value=1)
    masked = (_smoothed(first, kernel1_size) > ABOVE_1) | (_smoothed(second, kernel2_size) > ABOVE_2)
    return rewrap(leading, masked.astype("float32"), leading.dims).transpose(*data.dims)


def _smoothed(mask: np.ndarray, size: int) -> np.ndarray:
    """Convolve the last two axes with a Gaussian that is six standard deviations wide."""
    import numpy as np
    from scipy import ndimage

    values = mask.astype("float64")
    if size < 2:
        return values
    distances = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-0.5 * (distances / (size / 6)) ** 2)
    kernel /= kernel.sum()
    for axis in (-2, -1):
        values = ndimage.correlate1d(values, kernel, axis=axis, mode="constant")
    return values


def mask_scl_dilation(data: xr.DataArray, scl_band_name: str = "SCL", **sizes: Any) -> xr.DataArray:
    """Return a cube in which what `to_scl_dilation_mask` finds by its band of classes is no data.

    Parameters
    ----------
    sizes
        Further arguments of `to_scl_dilation_mask`.
    """
    require(data, "bands")
    names = list(data["bands"].values)
    if scl_band_name not in names:
        raise ProcessError("ProcessParameterInvalid", f"there is no band {scl_band_name!r} in {names}")
    mask = to_scl_dilation_mask(data.sel(bands=scl_band_name, drop=True), **sizes)
    return data.where(mask != 1)


PROCESSES: dict[str, Callable[..., Any]] = {
    "mask_scl_dilation": mask_scl_dilation,
    "to_scl_dilation_mask": to_scl_dilation_mask,
}
