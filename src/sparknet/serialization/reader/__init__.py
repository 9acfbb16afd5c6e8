"""From messages to objects, and to arrays that are there already. Nothing here knows the writer."""
