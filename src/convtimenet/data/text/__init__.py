"""What people write, read: time stamps, whole numbers as dates, numbers, names of steps."""
