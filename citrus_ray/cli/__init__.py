"""Commands: what is parsed (main), done (sweep), written (results) and printed (screen)."""
