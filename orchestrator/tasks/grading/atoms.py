"""The atoms of a formula: numbers, variables, groups, commands, functions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from orchestrator.tasks.grading.formula import Formula, Unreadable, number
from orchestrator.tasks.grading.number_rules import NumberRules, number_node
from orchestrator.tasks.grading.tokens import Token
from orchestrator.tasks.grading.vocabulary import (
    ACCENTS,
    FUNCTIONS,
    GREEK,
    INNER_FUNCTION,
    SHORT_WORDS,
    SYMBOLS,
    SYNONYMS,
    is_word,
)

FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "|": ("|", "abs")}
_PREFIXES = ("arcsin", "arccos", "arctan", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "sqrt")
_WHOLE = FUNCTIONS | GREEK | frozenset(("pi", "infinity", "inf"))
_ONLY_CALLED = frozenset(("min", "max", "re", "im", "arg", "det", "root"))
MAX_PRODUCT = 12


class Atoms(NumberRules, ABC):
    """The rules that bind most."""

    @abstractmethod
    def sum(self) -> Formula: ...

    @abstractmethod
    def bare_argument(self) -> Formula: ...

    @abstractmethod
    def exponent(self) -> Formula: ...

    @abstractmethod
    def postfixed(self, node: Formula) -> Formula: ...

    def _atom(self) -> Formula:
        token = self._take()
        match token.kind:
            case "number":
                return self._number(token)
            case "letters":
                if token.text in SHORT_WORDS and self._follows_number(token):
                    raise Unreadable
                return self._letters(token.text)
            case "command":
                return self._command(token.text)
            case "sign":
                return self._group(token.text)
        raise Unreadable

    def _follows_number(self, token: Token) -> bool:
        return token.spaced and self.position > 1 and self._tokens[self.position - 2].kind == "number"

    def _group(self, opening: str) -> Formula:
        closing = {"(": ")", "{": "}", "[": "]"}.get(opening)
        if opening == "|":
            return self._fenced("|")
        if closing is None:
            raise Unreadable
        bars, self._bars = self._bars, 0
        node = self._nested(self.sum)
        self._bars = bars
        self._expect(closing)
        return node

    def _fenced(self, opening: str) -> Formula:
        closing, op = FENCES[opening]
        self._bars += opening == "|"
        node = self._nested(self.sum)
        self._bars -= opening == "|"
        self._expect(closing)
        return Formula(op, (node,))

    def _letters(self, run: str) -> Formula:
        """Read letters: a function, a constant, or variables that are multiplied."""
        run = SYNONYMS.get(run, run)
        if run in FUNCTIONS and (run not in _ONLY_CALLED or self._opens()):
            return self._function(run)
        name = next((f for f in _PREFIXES if run.startswith(f)), run)
        if 0 < len(run) - len(name) <= 2 and run not in GREEK:
            return self._function(name, Token("letters", run[len(name) :]))
        if run in ("pi", "Pi"):
            return Formula("pi")
        if run in ("inf", "infinity", "oo", "Infinity", "infty"):
            return Formula("infty")
        if run in GREEK:
            return self._subscripted(run)
        if len(run) > MAX_PRODUCT:
            raise Unreadable
        if run.startswith("pi") and len(run) == 3:
            return Formula("mul", (Formula("pi"), self._letters(run[2:])))
        return self._product(run)

    def _product(self, run: str) -> Formula:
        """Read variables that are multiplied, and perhaps a function of what follows: ``xsin(x)``."""
        if (inner := INNER_FUNCTION.search(run)) is not None:
            self._insert(Token("letters", run[inner.start() :]))
            run = run[: inner.start()]
        elif is_word(run):
            raise Unreadable
        before, last = run[:-1], run[-1]
        node = self._subscripted(last)
        if self._took("^"):  # the power of the last letter alone
            node = self.postfixed(Formula("pow", (node, self._nested(self.exponent))))
        for letter in reversed(before):
            node = Formula("mul", (_letter(letter), node))
        return node

    def _opens(self) -> bool:
        return self._next is not None and self._next.is_sign("(", "{")

    def _subscripted(self, name: str) -> Formula:
        if self._took("_"):
            name = f"{name}_{self._subscript()}"
        while self._took("'", "prime"):
            name += "'"
        return _letter(name)

    def _subscript(self) -> str:
        token = self._take()
        if not token.is_sign("{"):
            return token.text
        texts = []
        while not self._took("}"):
            texts.append(self._take().text)
        return "".join(texts)

    def _command(self, name: str) -> Formula:
        if name == "frac":
            return Formula("div", (self._argument(digit=True), self._argument(digit=True)))
        if name == "binom":
            return Formula("binom", (self._argument(digit=True), self._argument(digit=True)))
        if name == "sqrt":
            return self._root()
        if name in FUNCTIONS:
            return self._function(SYNONYMS.get(name, name))
        if name in FENCES:
            return self._fenced(name)
        if name in ("pi", "infty"):
            return Formula(name)
        if name == "i":
            return _letter("i")
        if name in SYMBOLS:
            return self._subscripted(name)
        if name in ACCENTS:
            return _letter(f"{name} {self._subscript()}")
        raise Unreadable

    def _root(self) -> Formula:
        index = number(2)
        if self._took("["):
            index = self._nested(self.sum)
            self._expect("]")
        return Formula("root", (self._nested(self._argument), index))

    def _argument(self, *, digit: bool = False) -> Formula:
        r"""Read what a command takes: a group, or one sign; all digits of a number but after ``\frac``."""
        token = self._next
        if token is not None and token.kind == "number" and (digit and token.text.isdecimal()):
            return number(int(self._digit()))
        if token is not None and token.kind == "number":
            return number_node(self._take().text)
        if token is not None and token.kind == "letters" and len(token.text) > 1 and token.text not in _WHOLE:
            self._split_letters(token.text)
        return self._nested(self._atom)

    def _split_letters(self, run: str) -> None:
        self._insert(Token("letters", run[0]), Token("letters", run[1:]), replacing=1)

    def _function(self, name: str, argument: Token | None = None) -> Formula:
        exponent = base = None
        if argument is not None:
            self._insert(argument)
        if self._took("_") or self._is_base(name):
            base = self._nested(self._argument)
        if self._took("^"):
            exponent = self._nested(self.exponent)
        if exponent is not None and exponent == Formula("neg", (number(1),)) and not name.startswith("arc"):
            name, exponent = f"arc{name}", None
        self._in_function += 1
        args = self._function_arguments()
        self._in_function -= 1
        node = _applied(name, args, base)
        return node if exponent is None else Formula("pow", (node, exponent))

    def _is_base(self, name: str) -> bool:
        """Return whether a number is a base, as in ``log10(3)``."""
        base, after = self._next, self._peek(1)
        return (
            name == "log" and base is not None and base.kind == "number" and not base.spaced
            and after is not None and after.is_sign("(")
        )  # fmt: skip

    def _function_arguments(self) -> tuple[Formula, ...]:
        if self._opens() and (args := self._listed()) is not None:
            return args
        return (self._nested(self.bare_argument),)

    def _listed(self) -> tuple[Formula, ...] | None:
        """Read arguments in parentheses."""
        closing = {"(": ")", "{": "}"}[self._take().text]
        bars, self._bars = self._bars, 0
        args = [self._nested(self.sum)]
        while self._took(","):
            args.append(self._nested(self.sum))
        self._bars = bars
        self._expect(closing)
        return tuple(args)


def _letter(name: str) -> Formula:
    return Formula(name) if name in ("i", "e") else Formula("letter", name=name)


def _applied(name: str, args: tuple[Formula, ...], base: Formula | None) -> Formula:
    """Return a function of its arguments in the few operations that are computed."""
    if name == "log":
        given = args[1:] or (() if base is None else (base,))
        return Formula("log", (args[0], *(given or (number(10),))))
    if base is not None or (len(args) > 1 and name not in ("max", "min", "gcd", "lcm", "root")):
        raise Unreadable
    if name == "sqrt":
        return Formula("root", (*args, number(2)))
    if name == "cbrt":
        return Formula("root", (*args, number(3)))
    if name == "cis":
        return Formula("pow", (Formula("e"), Formula("mul", (Formula("i"), *args))))
    return Formula("pow", (Formula("e"), *args)) if name == "exp" else Formula(name, args)
