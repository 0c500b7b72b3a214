"""What the terminal shows: plain data in, rich renderables out."""
