"""Plans fitted to sweeps: which setting pays for which difficulty."""
