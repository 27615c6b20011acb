"""Parse text: time stamps, dates written as whole numbers, numbers and frequency names."""
