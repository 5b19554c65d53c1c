"""L5b: a sweep before it is handed over: its folder, its inputs, its plan. Used by the login side and by the node."""
