"""Cases for classification and regression."""
