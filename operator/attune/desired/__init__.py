"""Objects the operator wants to exist, built as whole values. Pure; tests compare whole objects."""
