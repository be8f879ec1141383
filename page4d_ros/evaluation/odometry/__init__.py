"""How well windows are put together, without a network and with one."""
