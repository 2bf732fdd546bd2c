"""Solved trajectories: what a law, a flow or a descent can be asked at any times."""
