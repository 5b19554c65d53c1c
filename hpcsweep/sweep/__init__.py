"""A sweep's folder, inputs and plan, up to its submission. Used by the login side and the node."""
