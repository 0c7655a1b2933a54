"""What is made of a guest crash on the host."""
