"""HTTP/1.1 and server-sent events as the load client needs them."""
