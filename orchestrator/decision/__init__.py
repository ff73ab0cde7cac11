"""Which model to deploy at which threshold: chosen on validation images, promised on test images opened once."""
