"""Where windows come from: one file for each public set, layout of files or generator."""
