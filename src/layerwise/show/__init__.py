"""What a trace looks like: figures, and the report that gathers them on one page."""
