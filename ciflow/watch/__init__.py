"""Which files of a project have changed: what `ciflow watch` runs again for."""
