"""What runs on the machines of a batch: one stage at a time, in a scratch folder."""
