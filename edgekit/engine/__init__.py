"""All it takes to answer on a vehicle: numpy, an image decoder, `tokenizers`, and a runtime."""
