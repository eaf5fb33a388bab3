"""What a file is: channels, samples, labels and events of EDF, BDF, WFDB, npz, NIfTI and CSV."""
