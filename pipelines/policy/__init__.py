"""Policies: which memories a caller may not see, or only as a note that something is there."""
