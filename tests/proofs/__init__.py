"""Long proofs, with make targets of their own."""
