"""The formats of recordings, by the endings of their files.

A way to read another format is a `Format` in a module of its own and a row here; docs/formats.md
says of each what it holds and what reading it costs.
"""

from pathlib import Path

from citrus_ray.data.faults import broken
from citrus_ray.data.formats.arrays import MAT, NPZ
from citrus_ray.data.formats.edf import EDF
from citrus_ray.data.formats.mne_files import MNE, MNE_FOLDER
from citrus_ray.data.formats.nifti import is_nifti
from citrus_ray.data.formats.series import TABLE
from citrus_ray.data.formats.signals import Format
from citrus_ray.data.formats.wfdb_records import WFDB

FORMATS: dict[str, Format] = {
    ".edf": EDF,
    ".bdf": EDF,
    ".hea": WFDB,
    ".npz": NPZ,
    ".mat": MAT,
    ".csv": TABLE,
    ".tsv": TABLE,
    ".txt": TABLE,
    ".parquet": TABLE,
    # FIF, EEGLAB, BrainVision, GDF, Neuroscan and ANT, Nihon Kohden, EGI, CTF, KIT, MEF
    **dict.fromkeys((".fif", ".fif.gz", ".set", ".vhdr", ".ahdr", ".gdf", ".cnt", ".eeg"), MNE),
    **dict.fromkeys((".sqd", ".con"), MNE),
    **dict.fromkeys((".mff", ".ds", ".mefd"), MNE_FOLDER),
    # Curry and BCI2000, Persyst, Nicolet, eXimia, NIRx, SNIRF, EyeLink, Artemis, NEDF, NSx
    **dict.fromkeys((".dat", ".dap", ".rs3", ".cdt", ".lay", ".data", ".nxe"), MNE),
    **dict.fromkeys((".hdr", ".snirf", ".asc", ".bin", ".nedf", ".ns3"), MNE),
}


def ending_of(path: Path) -> str:
    """The ending by which a file's format is known: the longest, `.fif.gz`; empty: none."""
    name = path.name.lower()
    return max((end for end in FORMATS if name.endswith(end)), key=len, default="")


def format_of(path: Path) -> Format:
    form = FORMATS.get(ending_of(path))
    if form is not None:
        return form
    if is_nifti(path):
        way = "`kind: fmri` reads it through a mask, and `citrus convert --mask` writes npz of it"
        raise broken(path, f"is an image, not channels; {way}", "pattern")
    known = ", ".join(FORMATS)
    rule = f"`{path.suffix}` is no format of recordings; narrow it to {known}"
    raise broken(path, rule, "pattern")


def with_ending(path: Path) -> bool:
    """Whether a recording may be there: a file, or the folder of a format that is one."""
    return path.is_file() or (path.is_dir() and ending_of(path) != "" and format_of(path).folder)
