"""One module per version, in the order of their `down_revision`."""
