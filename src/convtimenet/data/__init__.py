"""Read files, frames and arrays into regular tables, cases and training windows."""
