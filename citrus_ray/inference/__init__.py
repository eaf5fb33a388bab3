"""Kept models at work: given recordings or arrays, they say what they say; exported, elsewhere."""
