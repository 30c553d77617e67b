"""The names of each client, for the page that compares them."""
