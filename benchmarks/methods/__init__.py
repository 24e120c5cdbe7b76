"""Other methods, one file and one `compress` function each, with the signature and the training effort of `djpq.compress`."""
