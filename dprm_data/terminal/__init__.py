"""The terminal: every table, view and progress line that `dprm` prints. Data in, rich renderables out."""
