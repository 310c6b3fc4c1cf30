"""Plain SQL, applied in order by ``marketlag migrate``."""
