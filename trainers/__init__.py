"""Train one classifier from one recipe, without Ray, MLflow or a database; `trainers.fit.fit` has an example."""
