"""How well weights answer on held-out rendered drives, beside trivial and classical answers."""
