"""What audio says about any person's mouth, learned from many speakers."""
