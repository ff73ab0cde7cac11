"""Whether cells of another environment or code may be pooled with today's: anchors, licences, and verifying reruns."""
