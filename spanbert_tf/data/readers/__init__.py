"""Files in public formats to records, with errors that name file and line."""
