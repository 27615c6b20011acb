"""Time stamps, the steps between them, and the names of steps."""
