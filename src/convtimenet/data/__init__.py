"""What users hold, made regular: files, frames and arrays to tables, cases and windows."""
