"""Files of any length answered part by part, in this process or by many workers."""
