"""Parse text: time stamps, dates written as whole numbers, and numbers."""
