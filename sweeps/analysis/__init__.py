"""Results to figures: what is read, what is estimated from it, how it is drawn. The scripts of analysis/ call it."""
