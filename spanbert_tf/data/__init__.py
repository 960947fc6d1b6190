"""Files to records to bucketed batches; strings become token ids here, weights never appear."""
