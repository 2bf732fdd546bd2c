"""A phenomenon = a theory twin, a network twin, and claims that compare them."""
