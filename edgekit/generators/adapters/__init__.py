"""Methods that fine-tune a generator: one interface, one file format, one list of sites."""
