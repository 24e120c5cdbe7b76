"""Methods, recipes and results that the product is compared with."""
