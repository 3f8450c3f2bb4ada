"""Adapters of outside engines that serve several solvers: one file for each engine."""
