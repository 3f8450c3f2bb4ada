"""Hydra's composition files, packaged so that the installed commands have them."""
