"""Networks in their modes, and simple answers beside them."""
