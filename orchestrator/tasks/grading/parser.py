"""Formulas from tokens: LaTeX and the plain notation of programs."""

from __future__ import annotations

from orchestrator.tasks.grading.atoms import FENCES, Atoms
from orchestrator.tasks.grading.formula import Formula, Unreadable, number
from orchestrator.tasks.grading.tokens import Token, Tokens
from orchestrator.tasks.grading.units import is_degrees
from orchestrator.tasks.grading.vocabulary import ACCENTS, FUNCTIONS, SYMBOLS

_PRODUCTS = ("times", "cdot", "bmod")


def formula_of(tokens: Tokens) -> Formula:
    """Return the formula that all ``tokens`` make up. Raises Unreadable where they make none."""
    parser = _Parser(tokens)
    node = parser.sum()
    if not parser.is_at_end:
        raise Unreadable
    return node


class _Parser(Atoms):
    """A recursive-descent parser, the loosest rules first."""

    def sum(self) -> Formula:
        node = self._signed()
        while (token := self._next) is not None and (token.is_sign("+", "-") or token.is_command("pm", "mp")):
            self.position += 1
            op = {"+": "add", "-": "sub"}.get(token.text, token.text)
            node = Formula(op, (node, self._signed()))
        return Formula("binom", (node, self._nested(self.sum))) if self._took("choose") else node

    def _signed(self) -> Formula:
        """Return a term with the signs before it."""
        if self._took("+"):
            return self._nested(self._signed)
        if self._took("-"):
            return Formula("neg", (self._nested(self._signed),))
        for op in ("pm", "mp"):
            if self._took(op):
                return Formula(op, (number(0), self._nested(self._signed)))
        return self._term()

    def _term(self) -> Formula:
        node = self._power()
        while (token := self._next) is not None:
            if token.is_command(*_PRODUCTS) or self._is_cross():
                self.position += 1
                node = Formula("mod" if token.text == "bmod" else "mul", (node, self._factor()))
            elif token.is_sign("/", ":"):
                self.position += 1
                node = Formula("div", (node, self._divisor(node)))
            elif token.text.startswith("magnitude "):
                self.position += 1
                node = Formula("mul", (node, number(int(token.text.split()[1]))))
            elif token.is_sign("|") and self._bars:
                break
            elif self._begins_factor(token):
                node = Formula("mul", (node, self._power()))
            else:
                break
        return node

    def _factor(self) -> Formula:
        r"""Return a factor that may have a sign: ``2 \cdot -3``."""
        return Formula("neg", (self._nested(self._factor),)) if self._took("-") else self._power()

    def _divisor(self, dividend: Formula) -> Formula:
        """Read what follows a slash: ``x/2y`` is x/(2y), but 1/2 is the factor of ``1/2x``."""
        node = self._factor()
        while dividend.letters and node.op in ("number", "mul") and (token := self._next) is not None:
            if token.spaced or token.kind != "letters" or token.text in FUNCTIONS:
                break
            node = Formula("mul", (node, self._power()))
        return node

    def _is_cross(self) -> bool:
        """Return an x between numbers: ``3 x 10^5``."""
        token, after = self._next, self._peek(1)
        before = self._tokens[self.position - 1] if self.position else None
        return (
            token is not None and after is not None and before is not None
            and token.kind == "letters" and token.text in ("x", "X") and token.spaced == after.spaced
            and before.kind == "number" and after.kind == "number"
        )  # fmt: skip

    def _begins_factor(self, token: Token) -> bool:
        if token.kind == "number":
            before = self._tokens[self.position - 1]
            return before.kind != "number"
        if token.kind == "letters":
            return True
        if token.kind == "sign":
            return token.text in ("(", "{", "[", "|")
        return token.kind == "command" and (
            token.text in FUNCTIONS or token.text in SYMBOLS or token.text in FENCES or token.text in ACCENTS
            or token.text in ("frac", "sqrt", "pi", "infty", "binom", "operatorname", "i")
        )  # fmt: skip

    def _power(self) -> Formula:
        node = self.postfixed(self._atom())
        if self._took("^"):
            if self._took("'") or self._is_transposed():
                raise Unreadable
            return self.postfixed(Formula("pow", (node, self._nested(self.exponent))))
        return node

    def _is_transposed(self) -> bool:
        token = self._next
        return token is not None and token.kind == "command" and token.text in ("top", "circ", "prime")

    def exponent(self) -> Formula:
        if self._took("-"):
            return Formula("neg", (self._nested(self.exponent),))
        self._took("+")
        node = self._argument()
        return Formula("pow", (node, self._nested(self.exponent))) if self._took("^") else node

    def postfixed(self, node: Formula) -> Formula:
        while True:
            if self._took("!"):
                node = Formula("factorial", (node,))
            elif self._took("degree"):
                node = Formula("mul", (node, Formula("degree"))) if self._in_function else node
            elif self._in_function and self._next is not None and is_degrees(self._next):
                self.position += 1
                node = Formula("mul", (node, Formula("degree")))
            else:
                return node

    def bare_argument(self) -> Formula:
        r"""Return what a function without parentheses applies to: ``\sin 2x``, up to the next function."""
        if self._took("-"):
            return Formula("neg", (self._nested(self.bare_argument),))
        node = self._power()
        while (token := self._next) is not None and self._begins_factor(token):
            if (token.text in FUNCTIONS and token.text != "sqrt") or token.is_sign("(", "|", "["):
                break
            node = Formula("mul", (node, self._power()))
        return node
