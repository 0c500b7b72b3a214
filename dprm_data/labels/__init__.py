"""Label spaces: the categories an annotator chooses from, their geometry, and statistics on them."""
