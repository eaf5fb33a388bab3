"""From records to a verdict: collect -> cells -> transfer_gain -> report. Reads results folders; runs nothing."""
