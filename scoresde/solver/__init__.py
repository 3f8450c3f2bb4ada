"""Solvers of SDEs and of their probability-flow ODEs."""

from scoresde.solver.base import Solver, StepSolver

__all__ = ["Solver", "StepSolver"]
