"""Write what an attempt leaves behind: folders, events, exit records, identity."""
