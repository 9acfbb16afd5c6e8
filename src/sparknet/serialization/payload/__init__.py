"""The elements of one tensor as bytes: their types, how they are encoded and compressed. It knows nothing of other tensors."""
