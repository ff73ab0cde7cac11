"""May cells of another environment or code be pooled with today's? Anchors, licences, and reruns that verify."""
