"""The ledger's plain-text mathematics set with its symbols: `rho_0^2 <= 1 / sqrt(T)` becomes ρ₀² ≤ 1 / √T."""

import html
import re

NAMES = "alpha beta gamma delta epsilon eps eta theta kappa lambda mu xi phi rho sigma Delta Sigma"
GREEK = dict(zip(NAMES.split(), "αβγδεεηθκλμξφρσΔΣ", strict=True))
INNER = r"(?:[^()]|\([^()]*\))*"  # parentheses one deep


def above(m):
    """An exponent, with or without parentheses."""
    return f"{{sup}}`{(m[1] or m[2]).replace('-', '−')}`"


def below(m):
    """An index, of a letter or of a Greek one."""
    return f"{m[1] or m[3]}{{sub}}`{(m[2] or m[4]).replace('-', '−')}`"


def power(m):
    """A number with an exponent of ten, which alone makes 1e-4."""
    return f"{'' if m[1] == '1' else m[1] + ' · '}10^{m[2].strip('+')}{m[3]}"


RULES = [
    (rf"(?<![A-Za-z])({'|'.join(GREEK)})(?![A-Za-z])", lambda m: GREEK[m[1]]),
    (r"α-hat", "α̂"),
    (r"(?<=[α-ω])'(?!\w)", "′"),
    (r"\+/?-", "±"),
    (r"<=", "≤"),
    (r">=", "≥"),
    (r"\bsqrt ?(?:\((\w+)\)|(?=[\w(]))", lambda m: f"√{m[1] or ''}"),
    (r"\bl([12])(?= norm)", r"ℓ_\1"),
    (r"(?<![\w.])(\d[\d.]*)e([+-])0*(\d+)", power),
    (rf"\^\(({INNER})\)|\^(-\d+/\d+|-?\w+)", above),
    (r"(?<!\w)([A-Za-zα-ωΑ-Ωℓ])_(\w+|[+-])|([α-ω])(\d+)", below),
    (r"(?<![\w)`])-(?=[\d(])|(?<= )-(?= )", "−"),
]


def symbols(text):
    """`text` with Greek letters, signs and roots, and with MyST's roles for what stands above or below the line.

    >>> symbols("gamma1^2 / gamma0 <= -2 +/- 0.1 >= -3")
    'γ{sub}`1`{sup}`2` / γ{sub}`0` ≤ −2 ± 0.1 ≥ −3'
    >>> symbols("n^(-1 / (2 alpha)) and O(T^-1/2), C_eps and theta_-, sqrt 5 and sqrt(gamma0 + 1)")
    'n{sup}`−1 / (2 α)` and O(T{sup}`−1/2`), C{sub}`ε` and θ{sub}`−`, √5 and √(γ{sub}`0` + 1)'
    >>> symbols("1.6e+06, 1e-4, WRN-28-10, the l1 norm, the lambdas, rho's beta-smooth alpha-hat, rho' and exp(-(x - y))")
    "1.6 · 10{sup}`6`, 10{sup}`−4`, WRN-28-10, the ℓ{sub}`1` norm, the lambdas, ρ's β-smooth α̂, ρ′ and exp(−(x − y))"
    """
    for pattern, to in RULES:
        text = re.sub(pattern, to, text)
    return text


def set_in_html(text):
    """`text` with its symbols, as HTML; a word between asterisks is emphasized.

    >>> set_in_html("rho^2 < 1 is *never* the paper's")
    'ρ<sup>2</sup> &lt; 1 is <em>never</em> the paper’s'
    """
    text = html.escape(symbols(text or ""), quote=False).replace("'", "’")
    text = re.sub(r"\{(su[bp])\}`([^`]*)`", r"<\1>\2</\1>", text)
    return re.sub(r"(?<![\w*])\*(\w[^*]*?\w)\*(?!\w)", r"<em>\1</em>", text)
