"""Wrong, ambiguous or colliding statements in the published work, as data.

Each has a key, E1, E2, ..., by which docstrings and tests cite it. Those that print a formula
name the test that shows where it fails and what holds instead; the documentation renders this
same list.

The position paper is Nam et al., arXiv 2502.21009, the emergence paper Nam et al.,
arXiv 2404.17563. Texts are Markdown with formulas between backticks.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerwise.names import nearest

__all__ = ["ERRATA", "Erratum", "erratum"]

POSITION, EMERGENCE = "Position paper", "Emergence paper"


@dataclass(frozen=True)
class Erratum:
    """One statement in print, what holds instead, how that is known and what the package does.

    Attributes
    ----------
    key
        ``"E1"``, ``"E2"``, ...
    where
        The work, and the place in it.
    printed, correct
        What stands there, and what holds.
    evidence
        How that is known: numbers are largest errors unless said otherwise.
    library
        What the package does.
    test
        Name of its test in ``tests/theory/test_errata.py``; None where the statement is no formula
        of the theory.
    """

    key: str
    where: str
    printed: str
    correct: str
    evidence: str
    library: str
    test: str | None = None


def erratum(key: str) -> Erratum:
    """Return the erratum of that key.

    Raises
    ------
    KeyError
        For an unknown key; the known ones are named.

    Examples
    --------
    >>> erratum("E1").printed
    'Every weight follows an exponential `exp(-4 sqrt(Sigma0^2 - S0^2 + S^2) t/Z)`.'
    """
    for item in ERRATA:
        if item.key == key:
            return item
    raise KeyError(nearest(key, (item.key for item in ERRATA), kind="erratum"))


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        key="E1",
        where=f"{POSITION}, theorem 3 (eqs 74, 94-96)",
        printed="Every weight follows an exponential `exp(-4 sqrt(Sigma0^2 - S0^2 + S^2) t/Z)`.",
        correct="The factor is 2. One half is lost in eq. 89; eqs 16-17 of the paper agree with 2.",
        evidence="Weights are off by up to 0.79 with 4, by 3e-12 with 2. The limit `gamma_plus` is "
        "the same for both.",
        library="Factor 2.",
        test="test_e1_exponent_of_theorem_3",
    ),
    Erratum(
        key="E2",
        where=f"{POSITION}, proof of theorem 3 (eqs 86, 89; remarks 4 and 5)",
        printed="A wrong second sum in eq. 86; `gamma - 1/gamma` and `gamma + 1/gamma` exchanged "
        "in the middle of eq. 89; `gamma(0) = 0`; `Delta_0` for `S_0` in remark 4; one letter S "
        "for two things in remark 5.",
        correct="The second sum of eq. 86 holds `(a_j - b_j)^2`, and `gamma(0) = 1`. The "
        "conclusion of remark 4 is right: `gamma(t)` is concave from the start iff "
        "`S < S_0 + Sigma_0` (for `S > S_0`).",
        evidence="Derivation; the corrected form gives weights to 3e-12.",
        library="The corrected form only.",
        test="test_e2_pieces_of_the_proof_of_theorem_3",
    ),
    Erratum(
        key="E3",
        where=f"{POSITION}, appendix F.3 and figure 10",
        printed="A funnel (more inputs than outputs) is lazy for `lambda -> -inf`, an anti-funnel "
        "for `lambda -> +inf`.",
        correct="With the paper's own `lambda = W2^T W2 - W1 W1^T` a funnel is lazy for `+inf` and "
        "shows the delayed rich phase for `-inf`; an anti-funnel the reverse. Kunin et al. "
        "(arXiv 2406.06158) agree.",
        evidence="Kernel distance at `|lambda| = 20`: funnel 9e-7 at +20, 0.60 in the end at -20; "
        "anti-funnel 8e-7 at -20, 0.63 in the end at +20.",
        library="The corrected sign, and claims about figure 10 say so.",
        test="test_e3_which_sign_of_lambda_is_lazy_in_a_funnel",
    ),
    Erratum(
        key="E4",
        where=f"{POSITION}, main text against appendix F",
        printed="lambda-balance is `W2 W2^T - W1^T W1` in the main text and "
        "`W2^T W2 - W1 W1^T` in the appendix.",
        correct="Both are right for their own map, `x^T W1 W2` and `W2 W1 x`: transposes of each "
        "other. Put on the other's weights they are not conserved.",
        evidence="Drift along the flow of `W2 W1 x`.",
        library="Columns only: `W2 W1 x` with `W2^T W2 - W1 W1^T`.",
        test="test_e4_the_balance_of_the_other_notation_is_not_conserved",
    ),
    Erratum(
        key="E5",
        where=f"{POSITION}, figure 3",
        printed="The legend gives rates `E[x_i^2]` = 0.5, 0.2, 0.1; the curves run at 0.30, 0.12, "
        "0.06 (linear) and 0.70, 0.28, 0.14 (logistic).",
        correct="The rates are `E[x_i^2]` for the linear model and `2 S E[x_i^2]` for the "
        "layerwise one.",
        evidence="Read off the vector figure: a hidden learning rate of 0.6 and of 0.7. Shapes and "
        "order are right.",
        library="The formulas; an overlay on the print rescales time by 0.6 and 0.7.",
        test="test_e5_rates_of_figure_3",
    ),
    Erratum(
        key="E6",
        where=f"{POSITION}, code of figure 6(a)",
        printed="A parameter `scale` sets both layers' singular values to "
        "`sqrt((sqrt(lambda^2 + 4 scale) +- lambda)/2)`; the appendix speaks of `sigma = sqrt(3)`.",
        correct="For `W2 W1` to have the singular value `scale` it must be `4 scale^2`. As coded "
        "the product has `sqrt(scale)`; the target is divided by `scale` as well, so the true "
        "ratio grows as `scale^1.5`. No sqrt(3) is in the code.",
        evidence="Arithmetic.",
        library="A start's parameter is the singular value of `W2 W1`; the published sweep has a "
        "name of its own.",
        test="test_e6_scale_of_figure_6_is_not_the_norm_of_the_product",
    ),
    Erratum(
        key="E7",
        where=f"{POSITION}, axes of figure 6",
        printed="Tick labels 5, 0, -5 on a sweep of lambda over [-0.5, 0.5] in 6(b), with -0.5 "
        "drawn where the label says +5; the same flip in 6(a).",
        correct="The sweep is [-0.5, 0.5], and the axis is upside down (6(a) looks symmetric).",
        evidence="The published plotting code.",
        library="Axes come from the data.",
    ),
    Erratum(
        key="E8",
        where=f"{POSITION}, code of figure 6(b)",
        printed="lambda > 0 enlarges W1: `W1 = (0.1 + max(lambda, 0)) ...`.",
        correct="In the text, and everywhere else, lambda > 0 means that W2 is the larger.",
        evidence="The published code.",
        library="Converted with a minus sign.",
    ),
    Erratum(
        key="E9",
        where=f"{POSITION}, theorem 3",
        printed="The solution does not contain `E[x^2]`: its loss drops the input variance.",
        correct="If the target is a coefficient, y = S x, then `s = E[x^2]` multiplies time.",
        evidence="3e-12 with s from 0.3 to 3.",
        library="The argument `rate`.",
        test="test_e9_the_input_variance_multiplies_time",
    ),
    Erratum(
        key="E10",
        where=f"{POSITION}, linear networks, main text against appendix",
        printed="`E[x y^T] = U^T P V` in the appendix, `U P V` in the main text.",
        correct="Equal up to the names of the factors, and transposed with respect to the map: "
        "what the map learns is `E[y x^T]`.",
        evidence="Limit of the flow.",
        library="`cross = E[y x^T] = U diag(s) V^T`.",
        test="test_e10_the_map_learns_the_transpose_of_e_x_y",
    ),
    Erratum(
        key="E11",
        where=f"{POSITION}, figures and released code",
        printed="Version 1's figure 11 (six panels, one with dropout) is version 2's figure 8; the "
        "scripts cover figures 6 and 8 (or 11) and set no seed.",
        correct="The default run ends with about the best test accuracy of all: the remedies take "
        "away the delay. Results on ResNet collapse, emergence and CNNs are quoted, not run.",
        evidence="The released code.",
        library="Every claim names the experiment, and whose it is.",
    ),
    Erratum(
        key="E12",
        where=f"{EMERGENCE}, eq. 17 (data emergence)",
        printed="`R_k(inf) = S (1 - sqrt(1 - d_k/D_c))`.",
        correct="`R_k = S d_k/D_c`. The printed form puts the (right) skill loss "
        "`S^2/2 (1 - d_k/D_c)` into `L = (S - R)^2/2`, which does not hold for the extended model.",
        evidence="Minimum-norm fit at d/D_c = 0.5: 0.494 measured, 0.293 printed.",
        library="Both, as the rules `linear` (the projection, default) and `square-root`.",
        test="test_e12_skill_strength_from_few_samples_is_a_projection",
    ),
    Erratum(
        key="E13",
        where=f"{POSITION}, growth of the features (right there, often misread)",
        printed="Weights grow by `gamma_plus`.",
        correct="`gamma_plus` multiplies the squares `(a_i + b_i)^2`; the amplitude grows by "
        "`sqrt(gamma_plus)`.",
        evidence="1e-14 over 60 random starts.",
        library="`gamma_plus` and `gain = sqrt(gamma_plus)`, never one word for both.",
        test="test_e13_gamma_plus_is_a_factor_of_squares",
    ),
    Erratum(
        key="E14",
        where=f"{EMERGENCE}, code of the time prediction",
        printed="The exponent is `4 lr S P_k/B^2` a step; in the theory it is 2.",
        correct="Both: the code's mean squared error lacks the 1/2 of the theory's loss, which "
        "doubles every rate.",
        evidence="Gradient descent on either loss.",
        library="The loss has the 1/2; a network's clock multiplies by 2 and says so.",
        test="test_e14_a_loss_without_the_half_doubles_the_rate",
    ),
    Erratum(
        key="E15",
        where=f"{EMERGENCE}, code",
        printed="The parameter `alpha` is the exponent `alpha + 1`: 1.6 means 0.6.",
        correct="In the text `P_k ~ k^-(alpha + 1)`.",
        evidence="The published code.",
        library="`alpha` as in the text.",
    ),
    Erratum(
        key="E16",
        where=f"{EMERGENCE}, appendix K, code defaults and plotting code",
        printed="Learning rate 0.05 or 0.02, start deviation 0.001 or 0.01, Adam rate 1e-3, 0.01 "
        "or 0.05, decay 5e-5 or 5e-4; the width calibration writes m = 4, its plot reads m = 3.",
        correct="The time curves shown come from rate 0.02, deviation 0.01, 20,000 steps.",
        evidence="The published code.",
        library="Presets state every number.",
    ),
    Erratum(
        key="E17",
        where=f"{EMERGENCE}, constants of the compute law",
        printed="0.68, 0.70, 0.64 for alpha = 0.3, 0.6, 0.9.",
        correct="The front of infinitely many skills has 0.981, 0.789, 0.646 (units S^2/2, S = 5, "
        "R_0 = 0.01). The printed ones are read off curves cut at 5e4 skills; for alpha = 0.3 "
        "that number slides from 0.87 to 0.60 between C = 1e4 and 1e8. The constants of the time "
        "law, 1.29, 1.20, 1.06, are right.",
        evidence="Quadrature of the scaled front, brute-force sums.",
        library="Constants are computed; no asymptotic fit to a truncated sum.",
        test="test_e17_constants_of_the_compute_and_time_laws",
    ),
    Erratum(
        key="E18",
        where=f"{EMERGENCE}, data generator",
        printed="Random bits come from bytes in 0..254.",
        correct="The pattern 11111111 never occurs, and bits are slightly dependent. Harmless.",
        evidence="The published code.",
        library="Uniform bits, tested by frequency.",
    ),
    Erratum(
        key="E19",
        where=f"{EMERGENCE}, skill strength",
        printed="`R_k(0) = sigma^2/3.6`; R_k is called a correlation.",
        correct="The start is put in by hand (a factor 2 moves a time by 6 %). R_k is not "
        "normalised by the spread of f: it is linear in f and may exceed 1. Labels are +S for odd "
        "parity.",
        evidence="The published code.",
        library="R_k by projection, with the sign documented.",
    ),
    Erratum(
        key="E20",
        where=f"{EMERGENCE}, constants of the extended model",
        printed="B^2 = 22, D_c = 800, N_c = 4.",
        correct="Calibrated on one skill with m = 3. In data the transition is sharper than the "
        "formula and centred near 500; N_c = 4 needs 5e4 to 5e5 steps, and single networks jump.",
        evidence="Own runs: B^2 = 23.0; later skills come 10-30 % late.",
        library="Calibrated or quoted, and labelled which; bands, not equality.",
    ),
    Erratum(
        key="E21",
        where=f"{EMERGENCE}, the exponent as evidence",
        printed="The exponent `-alpha/(alpha + 1)` in time supports layerwise dynamics.",
        correct="It is the same for the shallow model, for depth 2 and for every depth.",
        evidence="Local slopes of exactly solved sums.",
        library="Claims of emergence rest on curves per skill, with the shallow control shown.",
        test="test_e21_the_exponent_in_time_does_not_depend_on_depth",
    ),
    Erratum(
        key="E22",
        where=f"{EMERGENCE}, fits at finitely many skills",
        printed="Exponents fitted to sums over n_s skills.",
        correct="They are off: at alpha = 0.3, n_s = 1e5 the local slope runs from -0.250 to "
        "-0.299 against -0.231. Adding `(S^2/2) A zeta(alpha + 1, n_s + 1)` completes the loss.",
        evidence="Finite sums.",
        library="The completed loss, by that name.",
        test="test_e22_finite_sums_have_no_exponent_until_completed",
    ),
    Erratum(
        key="E23",
        where="Kunin et al., arXiv 2406.06158, the word upstream (and figure 11's caption)",
        printed="'Upstream' reads as either direction; the caption of figure 11 reverses alpha.",
        correct="It says where learning happens: early layers small, late layers large, "
        "lambda > 0, `delta = eta_w a^2 - eta_a |w|^2 > 0`.",
        evidence="Own networks: the first layer moves by 4.37, 0.55, 0.000 for early-small, "
        "balanced, early-large.",
        library="Parameters say which layer is larger; 'upstream' is a derived label.",
    ),
    Erratum(
        key="E24",
        where="Papyan et al., arXiv 2008.08186, NC1",
        printed="`(1/C) tr(Sigma_W pinv(Sigma_B))` in the paper, without 1/C in its notebook; "
        "others call `tr Sigma_W/tr Sigma_B` or CDNV the same.",
        correct="Different numbers: NC1 sees only the range of Sigma_B, and can read 1e-15 while "
        "the quotient stays at 4e-5.",
        evidence="Unconstrained features without decay.",
        library="With 1/C; variants carry their name; the rank of Sigma_B is reported.",
    ),
    Erratum(
        key="E25",
        where="Public code for NC1",
        printed="Moments in one pass in float32, `E[h h^T] - sum mu mu^T`; default tolerances of "
        "pinv.",
        correct="16 % off at 5e-6, and -4.3e-7 at a true 5.2e-8; weak mean directions are dropped "
        "(2.4e-4 at d = 2048). Centre first.",
        evidence="Comparison in float64.",
        library="Centred, a small eigenproblem in float64, the floor reported.",
    ),
    Erratum(
        key="E26",
        where="Public code for NC2",
        printed="Equinorm by population or by unbiased deviation; on W alone, or with W centred.",
        correct="These are different numbers under one name.",
        evidence="The published codes.",
        library='Population deviation; `of="means"` or `"weights"`; stated.',
    ),
    Erratum(
        key="E27",
        where="Works on NC3, with and without bias",
        printed="NC3 tends to 0.",
        correct="Without bias the optimum is orthogonal, only its centred means are a simplex, "
        "and NC3 with uncentred W tends to `2 - 2 sqrt((C-1)/C)` (0.211 at C = 5). Papers square "
        "the norm or do not.",
        evidence="Closed form of the optimum.",
        library="Squared, W centred over classes unless asked; a warning for heads without bias.",
    ),
    Erratum(
        key="E28",
        where="Public code for NC4",
        printed="One toolbox leaves the bias out; another calls `|b + W mu_G|` NC4.",
        correct="NC4 compares `argmax(W h + b)` with the nearest class mean. Without the bias a "
        "true mismatch of 0.90 was reported as agreement of 1.0.",
        evidence="One example.",
        library="With the bias; the other quantity has a name of its own.",
    ),
    Erratum(
        key="E29",
        where="Public code for collapse, imbalanced classes",
        printed="The global mean mu_G is the mean of class means, or of samples.",
        correct="Equal for balanced classes only; all public codes assume balance.",
        evidence="Definitions.",
        library="An explicit argument; by default the mean of class means.",
    ),
    Erratum(
        key="E30",
        where="Works that use the kernel distance",
        printed="`1 - <K0, Kt>/(|K0| |Kt|)`, uncentred.",
        correct="It understates motion, because at the start a kernel is nearly of rank one.",
        evidence="0.103 against 0.265 centred, on one pair of kernels.",
        library="Centred by default; the published one on request.",
        test="test_e30_the_uncentred_kernel_distance_understates_motion",
    ),
    Erratum(
        key="E31",
        where="Works that use D_LR",
        printed="A numerically null logit direction is counted.",
        correct="Perfect collapse then scores `1 - sqrt((C-1)/C)` (0.051 at C = 10).",
        evidence="Closed form.",
        library="Directions below 5 % of the largest singular value are dropped, rank reported.",
    ),
    Erratum(
        key="E32",
        where="Solutions of the matrix Riccati equation, as printed",
        printed="`e^{Ft} Q0 [I + Q0^T (e^{Ft} F^{-1} e^{Ft} - F^{-1}) Q0/2]^{-1} Q0^T e^{Ft}`.",
        correct="True in exact arithmetic, of no use in float64: weak modes are lost from the sum "
        "long before anything overflows.",
        evidence="Of 54 ordinary problems up to t = 8, 18 gave NaN and 15 were off by up to 3.5.",
        library="An evaluation in which no exponent is positive.",
        test="test_e32_the_riccati_solution_evaluated_as_printed",
    ),
    Erratum(
        key="E33",
        where="Works on zero-balanced square networks",
        printed="'B is invertible' for random starts; public code raises, or tests det B near 0.",
        correct="False for half of all random starts: the sign of `det(W2 W1)` is conserved, and "
        "where it is the wrong one the flow ends on a saddle. The determinant test is a false "
        "alarm by underflow from d = 16 at scale 0.01.",
        evidence="100 of 200 starts.",
        library="Rank-revealing; unexcited modes are counted and reported; no determinant.",
        test="test_e33_half_of_all_balanced_starts_miss_a_mode",
    ),
    Erratum(
        key="E34",
        where="Public code for lambda-balanced and one-neuron networks",
        printed="Divisions by lambda, by delta and by singular values; 'always the positive root'.",
        correct="Fails at lambda = 0 and near it (2e-9 at 1e-6), at delta = 0, for rank-deficient "
        "targets and unequal sizes, and where a weight crosses the target axis.",
        evidence="Comparison with independent integration.",
        library="Forms without such a branch.",
        test="test_e34_division_by_lambda_loses_digits_near_zero",
    ),
    Erratum(
        key="E35",
        where="Works on the matrix solution, the weights",
        printed="`Q(t) = e^{Ft} Q0 M^{-1/2}` gives the weights.",
        correct="Only `Q Q^T` is given, the map and the Grams. The true weights differ from this "
        "Q by a rotation of the hidden space.",
        evidence="0.45 on one problem.",
        library="`weights` says so, or integrates the one linear equation that is left.",
        test="test_e35_the_closed_form_gives_grams_and_not_weights",
    ),
    Erratum(
        key="E36",
        where=f"{POSITION}, remedies against grokking",
        printed="The remedies remove the delay.",
        correct="On MNIST, yes (14 to below 2). On modular addition a lower output scale cuts the "
        "ratio of a quadratic network from about 30 to 10; in a one-layer transformer with "
        "cross-entropy no change of scale helped, smaller or larger. Under AdamW, target x10 and "
        "output x0.1 are the same curve, but under coupled L2 they differ in effective decay by "
        "100.",
        evidence="Own runs, three to eight seeds (records/modular-paper-3-seeds).",
        library="A verdict per task; learning rate, decay and loss stand beside each remedy.",
    ),
    Erratum(
        key="E37",
        where="Works on lottery tickets",
        printed="A ticket is a mask and its initial weights.",
        correct="The mask matters, the rewound values little: a fresh start under the same mask "
        "learns 5-60 % later than the ticket, still faster than the dense network.",
        evidence="Own runs, three seeds.",
        library="The control with a new start is always reported.",
    ),
    Erratum(
        key="E38",
        where=f"{POSITION}, collapse from greedy dynamics alone",
        printed="Collapse follows from greedy dynamics.",
        correct="In the unconstrained model for small starts only; otherwise it needs decay. "
        "Balanced classes show no staging.",
        evidence="NC1 of 2e-21, 1.5e-9, 0.11, 1.0 at start scales 1e-4, 1e-2, 0.3, 1.",
        library="The start's scale and the decay budget are part of the claim.",
    ),
)
