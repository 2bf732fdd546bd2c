"""Data for the experiments, as plain numpy arrays.

`load` reads an image data set from the user's files or the cache, or downloads it; `split` turns it
into the float arrays that a network trains on. `layerwise.tasks.fetch.fetch` downloads alone.
`Modular` is the table of an operation modulo a number, `Parity` multitask sparse parity: both are
made up on the fly.
"""

from layerwise.tasks.fetch import FetchError
from layerwise.tasks.images import (
    DataNotFound,
    Images,
    StandInWarning,
    load,
    load_or_stand_in,
    split,
)
from layerwise.tasks.modular import Modular, PairSplit
from layerwise.tasks.parity import Parity
from layerwise.tasks.readers import DataFileError

__all__ = [
    "DataFileError",
    "DataNotFound",
    "FetchError",
    "Images",
    "Modular",
    "PairSplit",
    "Parity",
    "StandInWarning",
    "load",
    "load_or_stand_in",
    "split",
]
