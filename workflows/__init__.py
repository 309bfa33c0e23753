"""One file, one command: ``python -m workflows.NAME --config FILE --set a.b=c``, locally or under ``ray job submit``."""
