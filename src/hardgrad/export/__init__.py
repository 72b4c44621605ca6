"""Writers for target languages. They know the languages and nothing about models; never import torch."""
