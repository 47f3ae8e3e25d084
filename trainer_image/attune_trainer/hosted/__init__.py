"""Versions that an API answers for (provider openai): a linear adapter trained here, or a model that the API fine-tunes."""
