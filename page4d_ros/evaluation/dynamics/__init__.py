"""How well it is told what moves: on rendered drives, and on clips with masks."""
