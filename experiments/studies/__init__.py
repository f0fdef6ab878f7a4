"""Studies: many arms under many conditions, and what can be said of them."""
