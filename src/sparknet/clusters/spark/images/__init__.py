"""Images on Spark: files as rows, and rows of encoded images as rows of pixels."""
