"""What a trace looks like: figures, and the pages that gather them."""
