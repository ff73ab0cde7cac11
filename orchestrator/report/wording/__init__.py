"""Every sentence of the report, once: each medium renders it, the page in both languages by `words.json`."""
