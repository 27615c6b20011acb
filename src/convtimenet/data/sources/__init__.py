"""From any source of a table to columns by role."""
