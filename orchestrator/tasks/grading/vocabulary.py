"""The names that answers are read with: commands of LaTeX, functions, units, words."""

from __future__ import annotations

import re


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Commands whose argument is text, or something in another style.
TEXT_COMMANDS = _names(
    "text textbf textit textrm textsf texttt textup textnormal mbox hbox mathrm mathbf mathit mathsf "
    "rm operatorname emph boldsymbol bm pmb"
)
# Commands that change no answer.
SKIPPED_COMMANDS = _names(
    "underline fbox boxed framebox mathcal mathscr mathfrak ensuremath displaystyle left right big "
    "Big cssId class style bbox nonumber quad mathop"
)
# Commands and the command or the sign that they are the same as.
ALIASES = {
    "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge", "neq": "ne", "simeq": "approx",
    "cong": "approx", "sim": "approx", "doteq": "approx", "land": "and", "wedge": "and", "lor": "or",
    "vee": "or", "ast": "times", "varnothing": "emptyset", "lvert": "|", "rvert": "|", "vert": "|",
    "mid": "|", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]", "lparen": "(",
    "rparen": ")", "over": "/", "slash": "/", "colon": ":", "bar": "overline", "surd": "sqrt",
    "degrees": "degree", "isin": "in", "imath": "i", "backslash": "setminus", "varphi": "phi",
    "cr": "\\", "varepsilon": "epsilon", "vartheta": "theta", "log10": "log", "dot": "dot", "lt": "<",
    "gt": ">", "star": "times", "arcsec": "asec", "div": "/", "cdotp": "cdot", "bullet": "cdot",
    "leftarrow": "to", "dbinom": "binom", "tbinom": "binom", "cbinom": "binom", "&": "and",
}  # fmt: skip
FUNCTIONS = _names(
    "sin cos tan cot sec csc arcsin arccos arctan arccot asin acos atan acot asec acsc sinh cosh tanh "
    "coth arcsinh arccosh arctanh asinh acosh atanh log ln lg exp sqrt cbrt abs floor ceil ceiling "
    "max min gcd lcm det sgn sign root re im arg cis"
)
# Functions as the argument of ``\operatorname`` or ``\mathrm``.
TEXT_FUNCTIONS = _names("sin cos tan cot sec csc arcsin arccos arctan log ln exp gcd lcm lg cis")
GREEK = _names(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon "
    "phi chi psi omega"
)
SYMBOLS = GREEK | _names(
    "Alpha Beta Delta Gamma Im Lambda Omega Phi Pi Psi Re Sigma Theta Xi aleph ell hbar omicron"
)
ACCENTS = _names("hat overleftrightarrow overline overrightarrow tilde vec widehat")
SYNONYMS = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "acot": "arccot", "ceiling": "ceil",
    "lg": "log", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "sign": "sgn",
    "Abs": "abs",
}  # fmt: skip
# Letters that stand for a unit right after a number. Single letters are variables: 4m is no length.
UNITS = _names(
    "cm mm km dm nm um kg mg lb lbs oz ft yd yds mi min mins sec secs hr hrs ml mL dL kL cL kWh kW MW "
    "mph kph kmh Hz kHz MHz GHz rad rads deg degs sq cu cc gal gals qt qts pt pts cal cals kcal kJ MJ "
    "Pa kPa atm mol mols kN lx lm in ins inch GB MB KB kB TB Mb Gb Kb ms us ns USD EUR GBP dollars "
    "percent pct mV kV mA Ah ppm rpm psi bps US th st nd rd day"
)
MAGNITUDES = {
    "dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12, "quadrillion": 10**15, "dozens": 12, "hundreds": 10**2, "thousands": 10**3,
    "millions": 10**6, "billions": 10**9, "trillions": 10**12, "lakh": 10**5, "lakhs": 10**5,
    "crore": 10**7, "crores": 10**7, "mln": 10**6, "bn": 10**9,
}  # fmt: skip
_ONES = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
         "ninety": 90}  # fmt: skip
NUMBER_WORDS = {
    "zero": 0, **_ONES, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, **_TENS,
    **{f"{ten} {one}": _TENS[ten] + _ONES[one] for ten in _TENS for one in _ONES},
}  # fmt: skip
# Words that are part of a formula or of a statement, never a unit.
NO_UNITS = (
    FUNCTIONS
    | GREEK
    | _names(
        "pi inf infinity infty oo mod choose over am pm if when where for with or and not no nor to is "
        "undefined except than least most all every any but then else none only either neither both such "
        "that plus minus times divided through between without excluding including unless respectively "
        "even odd true false "
        "january february march april may june july august september october november december"
    )
)
# Words that lead up to a value.
INTRODUCTIONS = _names(
    "about approximately approx around roughly exactly nearly almost rs usd eur gbp inr us is are the "
    "answer final equals therefore so thus hence total a cad aud either both point points interval vertex "
    "only"
)
# Words of two letters, that are variables elsewhere than after a number and a space.
SHORT_WORDS = _names("am an as at be by do go he if in is it me my no of on so to up us we")
# A function after variables that it is multiplied with: ``xsin(x)``.
INNER_FUNCTION = re.compile(r"(?<=[a-zA-Z])(?:arcsin|arccos|arctan|sin|cos|tan|log|ln|sqrt|exp)")


def is_word(run: str) -> bool:
    """Return whether letters are certainly not a product of variables."""
    return len(run) > 2 and bool(set(run) & set("aeou")) and not set(run) <= set("abcdxyzi")
