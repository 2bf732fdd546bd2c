"""BibTeX of the work that the laws come from."""

from __future__ import annotations

__all__ = ["POSITION", "SAXE", "SCIPY", "SOFTWARE"]

SOFTWARE = """@software{layerwise,
  title  = {layerwise: solve, reproduce and probe layerwise linear models},
  author = {{The layerwise developers}},
  year   = {2026},
}"""

POSITION = """@inproceedings{nam2025position,
  title     = {Position: Solve Layerwise Linear Models First to Understand Neural Dynamical
               Phenomena (Neural Collapse, Emergence, Lazy/Rich Regime, and Grokking)},
  author    = {Nam, Yoonsoo and Lee, Seok Hyeong and Domin{\\'e}, Cl{\\'e}mentine C. J. and
               Park, Yeachan and London, Charles and Choi, Wonyl and G{\\"o}ring, Niclas and
               Lee, Seungjai},
  booktitle = {International Conference on Machine Learning},
  year      = {2025},
  eprint    = {2502.21009},
  archivePrefix = {arXiv},
}"""

SAXE = """@inproceedings{saxe2014exact,
  title     = {Exact solutions to the nonlinear dynamics of learning in deep linear neural
               networks},
  author    = {Saxe, Andrew M. and McClelland, James L. and Ganguli, Surya},
  booktitle = {International Conference on Learning Representations},
  year      = {2014},
  eprint    = {1312.6120},
  archivePrefix = {arXiv},
}"""

SCIPY = """@article{virtanen2020scipy,
  title   = {{SciPy} 1.0: fundamental algorithms for scientific computing in {Python}},
  author  = {Virtanen, Pauli and others},
  journal = {Nature Methods},
  volume  = {17},
  pages   = {261--272},
  year    = {2020},
}"""
