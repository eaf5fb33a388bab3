"""What a channel measures, guessed from its name and unit."""

import re

UNITS = {
    "ohm": "impedance",
    "bpm": "heart_rate",
    "mmhg": "pressure",
    "us": "eda",
    "degc": "temperature",
    "g": "motion",
}
NAMES = {
    "stim": r"^(status|trigger)$",
    "eog": r"eog|^(loc|roc|e[12])\b",
    "emg": r"emg|chin|tibial",
    "ecg": r"ecg|ekg|^(i{1,3}|av[rlf]|v[1-6xyz]?|ml?i{1,3}|mcl\d?)$",
    "resp": r"resp|thor|abdo|airflow|nasal",
    "ppg": r"ppg|pleth|bvp",
    "pressure": r"^(abp|art|bp|cvp|pap)$",
    "eda": r"eda|gsr",
    "spo2": r"spo2|sao2",
    "temperature": r"temp",
    "heart_rate": r"^hr$|heart rate",
    "motion": r"acc|gyr|[xyz] axis",
    # the 10-20 system and its refinements
    "eeg": r"eeg|^(fp|af|fc|ft|f|cp|c|tp|t|po|p|o)(z|\d{1,2})\b",
}


def guess_modality(name: str, unit: str = "") -> str:
    """A modality from a name and a unit; `modality:` in the spec overrules it."""
    known = (kind for kind, rule in NAMES.items() if re.search(rule, name.lower()))
    return UNITS.get(unit.lower()) or next(known, "unknown")
