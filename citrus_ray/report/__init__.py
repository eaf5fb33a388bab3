"""The page for people: templates, captions, figures."""
