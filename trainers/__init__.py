"""Train one classifier from one recipe. Knows nothing of Ray, MLflow or databases.

>>> from trainers.fit import fit
>>> from trainers.recipe import Recipe
>>> recipe = Recipe(loss="bce_unified", backbone="resnet8", dataset="digits", seed=0)
>>> fit(recipe, recipe.dataset.load(data_dir)).metrics["uniform_accuracy"]
"""
