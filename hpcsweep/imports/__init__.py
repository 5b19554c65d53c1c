"""Read results of other tools and figures in documents. Pure."""
