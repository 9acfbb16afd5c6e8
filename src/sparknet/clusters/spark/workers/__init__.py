"""What the workers of training and of inference share: the way that weights take to them, and the nets that they keep."""
