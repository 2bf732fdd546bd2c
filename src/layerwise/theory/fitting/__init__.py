"""What `fit` is made of: the free numbers, the curve, the search for the least squares."""
