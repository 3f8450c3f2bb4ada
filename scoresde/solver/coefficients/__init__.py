"""Steps that are linear in the state and in what the model predicted: tables of coefficients, and how to make them."""
