"""What the report shows of lazy and rich, by subject."""
