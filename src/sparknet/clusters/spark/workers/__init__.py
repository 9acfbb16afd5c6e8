"""What workers share in training and inference: the transport of weights, and the nets that they keep."""
