"""Exhibits of the page, a file for each thing that is looked at."""
