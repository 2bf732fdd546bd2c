"""BibTeX of the work that the laws come from."""

from __future__ import annotations

__all__ = ["GRAM_LAWS", "cite"]

GRAM_LAWS = ("balanced", "balanced with decay", "two-valued")

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

EMERGENCE = """@inproceedings{nam2024exactly,
  title     = {An exactly solvable model for emergence and scaling laws in the multitask sparse
               parity problem},
  author    = {Nam, Yoonsoo and Fonseca, Nayara and Lee, Seok Hyeong and Mingard, Chris and
               Louis, Ard A.},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024},
  eprint    = {2404.17563},
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

FUKUMIZU = """@inproceedings{fukumizu1998effect,
  title     = {Effect of batch learning in multilayer neural networks},
  author    = {Fukumizu, Kenji},
  booktitle = {International Conference on Neural Information Processing},
  year      = {1998},
}"""

BRAUN = """@inproceedings{braun2022exact,
  title     = {Exact learning dynamics of deep linear networks with prior knowledge},
  author    = {Braun, Lukas and Domin{\\'e}, Cl{\\'e}mentine C. J. and Fitzgerald, James E. and
               Saxe, Andrew M.},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022},
}"""

DOMINE = """@inproceedings{domine2025lazy,
  title     = {From lazy to rich: exact learning dynamics in deep linear networks},
  author    = {Domin{\\'e}, Cl{\\'e}mentine C. J. and others},
  booktitle = {International Conference on Learning Representations},
  year      = {2025},
  eprint    = {2409.14623},
  archivePrefix = {arXiv},
}"""

KUNIN = """@inproceedings{kunin2024get,
  title     = {Get rich quick: exact solutions reveal how unbalanced initializations promote rapid
               feature learning},
  author    = {Kunin, Daniel and others},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024},
  eprint    = {2406.06158},
  archivePrefix = {arXiv},
}"""


def cite(method: str, law: str | None) -> str:
    """Return BibTeX of a law, or of the solver where there is none, and of this package.

    Examples
    --------
    >>> "saxe2014exact" in cite("exact", "pair")
    True
    """
    match law:
        case None:
            used = [SCIPY] if method == "flow" else []
        case "shallow":
            used = []
        case "pair" | "modes" | "depth" | "deep modes":
            used = [SAXE, POSITION]
        case "balanced" | "balanced with decay":
            used = [FUKUMIZU, BRAUN, DOMINE]
        case "skills":
            used = [EMERGENCE, SAXE, POSITION]
        case "two-valued":
            used = [DOMINE]
        case "neuron":
            used = [KUNIN]
        case _:
            used = [POSITION]
    return "\n\n".join([*used, SOFTWARE])
